/* keyring find|add|remove NAME: prints what the session keyring of the process
 * is called, and whether a key of that name is found from there. */

#include <linux/keyctl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

int main(int count, char **args)
{
    /* By number: adding to the special name would make a keyring that ends with
     * this process, where it has only the user's. */
    long session = syscall(SYS_keyctl, KEYCTL_GET_KEYRING_ID, KEY_SPEC_SESSION_KEYRING, 0L), key;
    char text[256] = ";none";
    if (count != 3)
        return 2;
    if (!strcmp(args[1], "add") && syscall(SYS_add_key, "user", args[2], "x", 1L, session) < 0)
        perror("add_key");
    syscall(SYS_keyctl, KEYCTL_DESCRIBE, session, text, sizeof text);
    key = syscall(SYS_keyctl, KEYCTL_SEARCH, session, "user", args[2], 0L);
    if (!strcmp(args[1], "remove") && syscall(SYS_keyctl, KEYCTL_UNLINK, key, session) < 0)
        perror("unlink");
    printf("%s %s\n", strrchr(text, ';') + 1, key < 0 ? "absent" : "found");
    return 0;
}
