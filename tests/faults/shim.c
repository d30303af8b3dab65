/* Preloaded into a process, has one of its system calls on files fail, or end the process: the n-th that makes, changes,
 * renames, removes or syncs anything below a folder. What programs do through stdio (fopen) is out of reach.
 *
 *   cc -shared -fPIC -O1 -o shim.so shim.c -ldl
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { FAIL_ONCE = 0, FAIL_FROM_THEN_ON = 1, KILL = 2, KILL_HALFWAY = 3 };

static char under[PATH_MAX];  /* "": nothing is counted */
static long first, count;
static int how, failure;
static char events[1 << 20];
static size_t used;

void faults_arm(const char *folder, long number, int kind, int number_of_error) {
    count = 0, first = number, how = kind, failure = number_of_error, used = 0, events[0] = 0;
    strncpy(under, folder, sizeof under - 1);
}

/* One line per call so far: its name and the path. */
const char *faults_events(void) { return events; }

#define OWN(name) __typeof__(&name) own = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

static int is_watched(const char *path) {
    char whole[PATH_MAX];
    if (!under[0] || !path) return 0;
    if (path[0] == '/') return !strncmp(path, under, strlen(under));
    if (!getcwd(whole, sizeof whole)) return 0;
    return !strncmp(whole, under, strlen(under));
}

static const char *path_of(int descriptor, char *buffer) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, buffer, PATH_MAX - 1);
    if (length < 0) return NULL;
    buffer[length] = 0;
    return buffer[0] == '/' ? buffer : NULL;  /* "pipe:[1]" */
}

/* Whether the call is to fail; where it is to end the process halfway, it does half of its work before. */
static int strikes(const char *name, const char *path, int descriptor, const void *data, size_t size) {
    if (!is_watched(path)) return 0;
    long number = __atomic_add_fetch(&count, 1, __ATOMIC_SEQ_CST);
    int length = snprintf(events + used, sizeof events - used, "%s %s\n", name, path);
    if (length > 0 && used + (size_t)length < sizeof events) used += (size_t)length;
    if (!first || number < first || (number > first && how != FAIL_FROM_THEN_ON)) return 0;
    if (how == KILL_HALFWAY && data && size > 1) {
        OWN(write);
        own(descriptor, data, size / 2);
    }
    if (how >= KILL) kill(getpid(), SIGKILL);
    errno = failure;
    return 1;
}

#define BY_PATH(name, arguments, passed, path)                                   \
    int name arguments {                                                         \
        OWN(name);                                                               \
        return strikes(#name, path, -1, NULL, 0) ? -1 : own passed;              \
    }
#define BY_DESCRIPTOR(type, name, arguments, passed, data, size)                 \
    type name arguments {                                                        \
        char buffer[PATH_MAX];                                                   \
        OWN(name);                                                               \
        if (!under[0]) return own passed;                                        \
        return strikes(#name, path_of(fd, buffer), fd, data, size) ? -1 : own passed; \
    }
#define OPENING(name, before, path, passed)                                      \
    int name before {                                                            \
        mode_t mode = 0;                                                         \
        OWN(name);                                                               \
        if (flags & O_CREAT) {                                                   \
            va_list more;                                                        \
            va_start(more, flags);                                               \
            mode = va_arg(more, mode_t);                                         \
            va_end(more);                                                        \
        }                                                                        \
        int writes = (flags & O_ACCMODE) != O_RDONLY || (flags & (O_CREAT | O_TRUNC)); \
        return writes && strikes(#name, path, -1, NULL, 0) ? -1 : own passed;    \
    }

OPENING(open, (const char *path, int flags, ...), path, (path, flags, mode))
OPENING(open64, (const char *path, int flags, ...), path, (path, flags, mode))
OPENING(openat, (int folder, const char *path, int flags, ...), path, (folder, path, flags, mode))
OPENING(openat64, (int folder, const char *path, int flags, ...), path, (folder, path, flags, mode))
BY_PATH(rename, (const char *from, const char *to), (from, to), to)
BY_PATH(mkdir, (const char *path, mode_t mode), (path, mode), path)
BY_PATH(unlink, (const char *path), (path), path)
BY_PATH(rmdir, (const char *path), (path), path)
BY_PATH(symlink, (const char *from, const char *to), (from, to), to)
BY_PATH(link, (const char *from, const char *to), (from, to), to)
BY_DESCRIPTOR(ssize_t, write, (int fd, const void *data, size_t size), (fd, data, size), data, size)
BY_DESCRIPTOR(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t at), (fd, data, size, at), NULL, 0)
BY_DESCRIPTOR(ssize_t, pwrite64, (int fd, const void *data, size_t size, off64_t at), (fd, data, size, at), NULL, 0)
BY_DESCRIPTOR(ssize_t, writev, (int fd, const struct iovec *parts, int number), (fd, parts, number), NULL, 0)
BY_DESCRIPTOR(int, fsync, (int fd), (fd), NULL, 0)
BY_DESCRIPTOR(int, fdatasync, (int fd), (fd), NULL, 0)
BY_DESCRIPTOR(int, ftruncate, (int fd, off_t size), (fd, size), NULL, 0)
BY_DESCRIPTOR(int, ftruncate64, (int fd, off64_t size), (fd, size), NULL, 0)
