/* A wall clock that leaps: what is loaded before a program adds the seconds in a shared file to the time of day.
 *
 *   cc -O2 -shared -fPIC -o leap.so leap.c && LEAP_FILE=file LD_PRELOAD=./leap.so program
 *
 * The file holds one 64-bit number in the machine's order; whoever writes it moves the clocks of all programs in the
 * same moment. The monotonic clock stays as it is, so that waits last as long as they do. libfaketime can nearly do
 * this; it reads its file anew at each look at the clock and wakes gRPC's timers without end after a leap, which
 * takes more of the machine than a thousand outposts do.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static _Atomic int64_t *leapt;

__attribute__((constructor)) static void attach(void) {
    const char *path = getenv("LEAP_FILE");
    int handle = path != NULL ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (handle < 0) return;
    void *found = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, handle, 0);
    close(handle);
    if (found != MAP_FAILED) leapt = found;
}

int clock_gettime(clockid_t clock, struct timespec *at) {
    int answer = (int)syscall(SYS_clock_gettime, clock, at);
    if (answer == 0 && leapt != NULL && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE))
        at->tv_sec += (time_t)atomic_load(leapt);
    return answer;
}

int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    at->tv_sec = now.tv_sec;
    at->tv_usec = now.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where != NULL) *where = now.tv_sec;
    return now.tv_sec;
}
