
"use strict";
for (const figure of document.querySelectorAll(".charts figure")) {
  const told = figure.querySelector(".picked");
  const placeOf = (mark, axis) => Number(mark.querySelector("use").getAttribute(axis));
  const marks = [...figure.querySelectorAll(".mark")].sort((a, b) => placeOf(a, "x") - placeOf(b, "x") || placeOf(b, "y") - placeOf(a, "y"));
  let at = -1;
  const show = place => {
    marks[at]?.classList.remove("on");
    at = place;
    marks[at].classList.add("on");
    told.textContent = marks[at].querySelector("title").textContent;
  };
  figure.addEventListener("click", event => {
    const mark = event.target.closest(".mark");
    if (mark) show(marks.indexOf(mark));
  });
  const steps = {ArrowRight: () => at + 1, ArrowLeft: () => at < 0 ? marks.length - 1 : at - 1, Home: () => 0, End: () => marks.length - 1};
  figure.querySelector(".scroll").addEventListener("keydown", event => {
    if (!(event.key in steps) || event.altKey || event.ctrlKey || event.metaKey || !marks.length) return;
    event.preventDefault();
    show(Math.min(Math.max(steps[event.key](), 0), marks.length - 1));
  });
}
const valueOf = (row, column) => {
  const cell = row.cells[column], text = cell.dataset.value ?? cell.textContent.trim(), number = parseFloat(text);
  return Number.isNaN(number) || cell.tagName === "TH" ? text : number;
};
for (const table of document.querySelectorAll("table.layers")) {
  const body = table.tBodies[0];
  [...table.tHead.rows[0].cells].forEach((head, column) => {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].sort((a, b) => {
        const x = valueOf(a, column), y = valueOf(b, column);
        const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), undefined, {numeric: true});
        return down ? -order : order;
      });
      body.append(...rows);
    });
  });
  const search = document.createElement("input");
  search.type = "search";
  search.placeholder = table.dataset.search;
  search.setAttribute("aria-label", table.dataset.search);
  search.addEventListener("input", () => {
    const words = search.value.toLowerCase();
    for (const row of body.rows) row.hidden = !row.textContent.toLowerCase().includes(words);
  });
  table.parentNode.before(search);
}
addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(details => { details.open = true; }));
