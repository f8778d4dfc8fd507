/* Makes system calls that a filter should refuse and prints what came of each:
 * one line of errno values. Without any library, so that it is a static
 * program of 64 or (-m32) 32 bits. */

#ifdef __x86_64__
enum { WRITE = 1, EXIT = 60, SOCKET = 41, CLONE3 = 435, KEYCTL = 250, UNSHARE = 272, X32 = 0x40000000 };

static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c)
                     : "rcx", "r11", "memory");
    return result;
}
#else
enum { WRITE = 4, EXIT = 1, SOCKET = 359, CLONE3 = 435, KEYCTL = 288, UNSHARE = 310, X32 = 0 };

static long call(long number, long a, long b, long c)
{
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(number), "b"(a), "c"(b), "d"(c) : "memory");
    return result;
}
#endif

static void print(long result)
{
    char text[3];
    long error = result < 0 ? -result : 0;
    text[0] = '0' + error / 10;
    text[1] = '0' + error % 10;
    text[2] = ' ';
    call(WRITE, 1, (long)text, 3);
}

void _start(void)
{
    print(call(SOCKET, 1, 1, 0));   /* AF_UNIX */
    print(call(SOCKET, 38, 5, 0));  /* AF_ALG */
    print(call(SOCKET, 40, 1, 0));  /* AF_VSOCK */
    print(call(CLONE3, 0, 0, 0));
    print(call(KEYCTL, 0, 0, 0));
    print(call(UNSHARE, 0x10000000, 0, 0));
    print(call(X32 | WRITE, 1, 0, 0));
    call(EXIT, 0, 0, 0);
}
