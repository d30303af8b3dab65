// What a browser finds in the pages named on the command line: axe-core's rules, errors, and the keyboard alone.
"use strict";
const {chromium} = require("playwright-core");

// Tab from stop to stop: what each is, whether it can be seen, and whether it comes after the one before.
const stop = () => {
  const element = document.activeElement;
  if (element === document.body || element === window.stopped?.[0]) return null;
  const before = window.stopped?.at(-1), box = element.getBoundingClientRect(), style = getComputedStyle(element);
  (window.stopped ??= []).push(element);
  return {
    name: `${element.localName}.${element.className}`,
    seen: box.width > 0 && box.height > 0 && box.right > 0,
    outlined: style.outlineStyle !== "none" && parseFloat(style.outlineWidth) > 0,
    inOrder: !before || Boolean(before.compareDocumentPosition(element) & Node.DOCUMENT_POSITION_FOLLOWING),
  };
};

const openAll = page => page.evaluate(() => document.querySelectorAll("details").forEach(each => { each.open = true; }));

async function rules(browser, path, colorScheme, width) {
  const page = await (await browser.newContext({colorScheme, viewport: {width, height: 900}})).newPage();
  const errors = [];
  page.on("pageerror", error => errors.push(String(error)));
  page.on("console", message => message.type() === "error" && errors.push(message.text()));
  await page.goto(`file://${path}`);
  await openAll(page);
  await page.addScriptTag({path: require.resolve("axe-core")});
  const found = await page.evaluate(() => axe.run());
  return {
    errors, passes: found.passes.length,
    violations: found.violations.map(each => `${each.impact} ${each.id}: ${each.nodes[0].html.slice(0, 200)}`),
  };
}

async function keyboard(browser, path) {
  const page = await (await browser.newContext({viewport: {width: 1280, height: 900}})).newPage();
  await page.goto(`file://${path}`);
  await openAll(page);
  const stops = [];
  for (let found; stops.length < 1000; stops.push(found)) {
    await page.keyboard.press("Tab");
    if (!(found = await page.evaluate(stop))) break;
  }
  const column = () => page.evaluate(() => {
    const table = document.querySelector("table.layers"), head = table.tHead.rows[0].cells[1];
    return {sort: head.getAttribute("aria-sort"), names: [...table.tBodies[0].rows].map(row => row.cells[1].textContent)};
  });
  const sorted = [];
  await page.locator("table.layers").first().locator("thead button").nth(1).focus();
  for (const key of ["Enter", "Space"]) {
    await page.keyboard.press(key);
    sorted.push(await column());
  }
  const points = [], chart = page.locator(".charts figure").first();
  const charts = await page.locator(".charts figure .mark").count();
  if (charts) {
    await chart.locator(".scroll").focus();
    for (const key of ["ArrowRight", "ArrowRight", "Home", "End", "ArrowRight", "ArrowLeft"]) {
      await page.keyboard.press(key);
      points.push(await chart.locator(".picked").textContent());
    }
  }
  const titles = await chart.locator(".mark title").allTextContents();
  return {stops, sorted, points, titles};
}

(async () => {
  const [chromiumPath, ...paths] = process.argv.slice(2);
  const browser = await chromium.launch({executablePath: chromiumPath, args: ["--no-sandbox"]});
  const found = [];
  for (const path of paths) {
    const views = [];
    for (const scheme of ["light", "dark"]) for (const width of [1280, 390]) views.push(await rules(browser, path, scheme, width));
    found.push({views, keyboard: await keyboard(browser, path)});
  }
  await browser.close();
  console.log(JSON.stringify(found));
})();
