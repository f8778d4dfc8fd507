/* Looks at every other process in /proc until /tmp/stop exists, as fast as it
 * can, and prints how many it saw with descriptors it could read, the
 * capabilities that any of them had and this process lacks, and the
 * descriptors above 2 that are no sockets. */

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static unsigned long long capabilities(const char *pid)
{
    char path[64], line[256];
    unsigned long long found = 0;
    snprintf(path, sizeof path, "/proc/%s/status", pid);
    FILE *status = fopen(path, "r");
    if (!status)
        return 0;
    while (fgets(line, sizeof line, status))
        sscanf(line, "CapPrm: %llx", &found);
    fclose(status);
    return found;
}

static int descriptors(const char *pid)
{
    char path[64], target[256];
    int count = 0;
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    for (struct dirent *fd; fds && (fd = readdir(fds));) {
        ssize_t length = readlinkat(dirfd(fds), fd->d_name, target, sizeof target - 1);
        count += length > 0;
        target[length > 0 ? length : 0] = 0;
        if (length > 0 && atoi(fd->d_name) > 2 && strncmp(target, "socket:", 7))
            printf("descriptor %s\n", target);
    }
    if (fds)
        closedir(fds);
    return count;
}

int main(void)
{
    unsigned long long own = capabilities("self"), more = 0;
    char last[32] = "";
    int seen = 0;
    puts("ready");
    fflush(stdout);
    while (access("/tmp/stop", F_OK)) {
        DIR *proc = opendir("/proc");
        for (struct dirent *entry; (entry = readdir(proc));) {
            if (atoi(entry->d_name) < 2)
                continue;
            more |= capabilities(entry->d_name) & ~own;
            if (descriptors(entry->d_name) && strcmp(last, entry->d_name)) {
                strcpy(last, entry->d_name);
                seen++;
            }
        }
        closedir(proc);
    }
    printf("seen %d, more capabilities %llx\n", seen, more);
    return 0;
}
