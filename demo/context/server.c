/* Answers every HTTP request on 127.0.0.1:8080 with one page. */
#include <arpa/inet.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define GREETING "Hello from a C program, built and served by Carrack\n"

int main(void)
{
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(8080) };
    char request[4096], answer[512];
    int on = 1, listener = socket(AF_INET, SOCK_STREAM, 0);

    signal(SIGPIPE, SIG_IGN);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 16)) {
        perror("listen on 127.0.0.1:8080");
        return 1;
    }
    puts("hello: listening on 127.0.0.1:8080");
    fflush(stdout);
    for (;;) {
        int client = accept(listener, NULL, NULL);
        if (client < 0)
            continue;
        if (read(client, request, sizeof request) > 0) {
            int length = snprintf(answer, sizeof answer,
                "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n\r\n%s",
                strlen(GREETING), GREETING);
            if (write(client, answer, length) == length)
                puts("hello: answered");
            fflush(stdout);
        }
        close(client);
    }
}
