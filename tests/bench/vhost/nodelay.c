/* tests/bench/vhost/nodelay.c -- LD_PRELOAD for qemu-nbd 7.2, which leaves Nagle's algorithm on: TCP_NODELAY on what it
 * accepts, so that it is compared at its best. */
#include <dlfcn.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

int accept4(int fd, struct sockaddr *a, socklen_t *l, int flags);

int accept4(int fd, struct sockaddr *a, socklen_t *l, int flags)
{
	int (*real)(int, struct sockaddr *, socklen_t *, int) = dlsym(RTLD_NEXT, "accept4");
	int c = real(fd, a, l, flags), on = 1;
	if (c >= 0)
		setsockopt(c, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return c;
}
