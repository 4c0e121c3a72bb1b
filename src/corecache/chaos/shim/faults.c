/* Makes a chosen disk call of a running process fail, wait, or take longer, at a chosen moment.
 *
 * Preloaded (LD_PRELOAD) into a node. FAULT_SHIM_CONTROL names a file that the campaign, or the test, maps too; its
 * content is `struct control`, which is changed while the node runs. A call is concerned if the control is armed, its
 * kind is among `calls`, and the path of its file contains `part`. Of the concerned calls the first `skip` pass; the
 * next `times` (-1: all) are struck: if `delay_us` is not 0, they take so many microseconds longer, else they fail with
 * `error`, or, if that is 0, wait until the control is disarmed; the rest pass. `hits` counts the calls that were
 * struck, so that one can wait for that.
 *
 * FAULT_SHIM_SYNCED names a file to which every sync that succeeded adds a line: the file's inode, and how long it was
 * when the sync began. What a power cut would have taken away is what lies beyond. A file that is made, or emptied, adds
 * a line with the length 0: it may have the inode of one that was synced and is gone.
 *
 * A process without these variables behaves as if the library were not there.
 */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { SYNC = 1, WRITE = 2 };

struct control {
    int armed, calls, error, skip, times, hits, delay_us;
    char part[100];
};

static struct control *control;
static int synced = -1;

__attribute__((constructor)) static void set_up(void)
{
    const char *journal = getenv("FAULT_SHIM_SYNCED");
    if (journal)
        synced = open(journal, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    const char *path = getenv("FAULT_SHIM_CONTROL");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0)
        return;
    void *mapped = mmap(NULL, sizeof *control, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    if (mapped != MAP_FAILED)
        control = mapped;
}

static int armed(void)
{
    return control != NULL && __atomic_load_n(&control->armed, __ATOMIC_SEQ_CST);
}

static int concerned(int file, int kind)
{
    char link[40], path[4096];
    if (!armed() || !(control->calls & kind))
        return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0)
        return 0;
    path[length] = 0;
    return strstr(path, control->part) != NULL;
}

/* Returns 1 if the call must fail, with errno set. */
static int faulty(int file, int kind)
{
    int saved = errno;
    int hit = concerned(file, kind);
    errno = saved;
    if (!hit || __atomic_fetch_sub(&control->skip, 1, __ATOMIC_SEQ_CST) > 0)
        return 0;
    if (control->times >= 0 && __atomic_fetch_sub(&control->times, 1, __ATOMIC_SEQ_CST) <= 0) {
        __atomic_store_n(&control->times, 0, __ATOMIC_SEQ_CST);
        return 0;
    }
    __atomic_fetch_add(&control->hits, 1, __ATOMIC_SEQ_CST);
    if (control->delay_us == 0 && control->error != 0) {
        errno = control->error;
        return 1;
    }
    if (control->delay_us != 0)
        usleep(control->delay_us);
    else
        while (armed())
            usleep(1000);
    errno = saved;
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int syncing(int file, int (*sync)(int))
{
    struct stat before;
    int known = synced >= 0 && fstat(file, &before) == 0 && S_ISREG(before.st_mode);
    if (faulty(file, SYNC) || sync(file) != 0)
        return -1;
    if (known)
        dprintf(synced, "%lu %ld\n", (unsigned long)before.st_ino, (long)before.st_size);
    return 0;
}

int fsync(int file)
{
    return syncing(file, REAL(fsync));
}

int fdatasync(int file)
{
    return syncing(file, REAL(fdatasync));
}

static int opened(int file, int flags)
{
    int saved = errno;
    struct stat found;
    if (file >= 0 && synced >= 0 && flags & (O_CREAT | O_TRUNC) && fstat(file, &found) == 0 &&
        S_ISREG(found.st_mode) && found.st_size == 0)
        dprintf(synced, "%lu 0\n", (unsigned long)found.st_ino);
    errno = saved;
    return file;
}

/* Takes the mode, which is there only if the flags can make a file. */
#define TAKE_MODE(mode, flags)                                    \
    mode_t mode = 0;                                              \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) {    \
        va_list rest;                                             \
        va_start(rest, flags);                                    \
        mode = va_arg(rest, mode_t);                              \
        va_end(rest);                                             \
    }

#define OPEN(name)                                                \
    int name(const char *path, int flags, ...)                    \
    {                                                             \
        TAKE_MODE(mode, flags)                                    \
        return opened(REAL(name)(path, flags, mode), flags);      \
    }

#define OPENAT(name)                                              \
    int name(int folder, const char *path, int flags, ...)        \
    {                                                             \
        TAKE_MODE(mode, flags)                                    \
        return opened(REAL(name)(folder, path, flags, mode), flags); \
    }

OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *bytes, size_t length)
{
    return faulty(file, WRITE) ? -1 : REAL(write)(file, bytes, length);
}

ssize_t writev(int file, const struct iovec *parts, int count)
{
    return faulty(file, WRITE) ? -1 : REAL(writev)(file, parts, count);
}

ssize_t pwrite(int file, const void *bytes, size_t length, off_t offset)
{
    return faulty(file, WRITE) ? -1 : REAL(pwrite)(file, bytes, length, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t length, off64_t offset)
{
    return faulty(file, WRITE) ? -1 : REAL(pwrite64)(file, bytes, length, offset);
}
