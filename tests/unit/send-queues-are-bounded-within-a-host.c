/* Between two processes of one host little waits in a socket; a network is given what it needs.
 * If this fails, large reads and writes on one host cost twice as much, or far ones are slow. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/send_queue.h"

static int queue_of(int fd)
{
	int bytes;
	socklen_t length = sizeof(bytes);

	assert_return_code(getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, &length), 0);
	return bytes;
}

/* As socket(7) has it: doubled, up to the system's limit. */
static int bounded(void)
{
	FILE *limit = fopen("/proc/sys/net/core/wmem_max", "r");
	int most;

	assert_non_null(limit);
	assert_int_equal(fscanf(limit, "%d", &most), 1);
	fclose(limit);
	return 2 * (most < SEND_QUEUE_BYTES ? most : SEND_QUEUE_BYTES);
}

struct pair {
	int server, client;
};

static void close_pair(struct pair pair)
{
	close(pair.server);
	close(pair.client);
}

/* A connection from @from to @to. */
static struct pair connect_inet(const char *from, const char *to)
{
	int listener = socket(AF_INET, SOCK_STREAM, 0);
	struct sockaddr_in own = { .sin_family = AF_INET }, peer = own;
	socklen_t length = sizeof(peer);
	struct pair pair = { .client = socket(AF_INET, SOCK_STREAM, 0) };

	inet_pton(AF_INET, from, &own.sin_addr);
	inet_pton(AF_INET, to, &peer.sin_addr);
	assert_return_code(bind(listener, (struct sockaddr *)&peer, sizeof(peer)), 0);
	assert_return_code(listen(listener, 1), 0);
	assert_return_code(getsockname(listener, (struct sockaddr *)&peer, &length), 0);
	assert_return_code(bind(pair.client, (struct sockaddr *)&own, sizeof(own)), 0);
	assert_return_code(connect(pair.client, (struct sockaddr *)&peer, sizeof(peer)), 0);
	pair.server = accept(listener, NULL, NULL);
	assert_true(pair.server >= 0);
	close(listener);
	return pair;
}

static struct pair connect_inet6(void)
{
	int listener = socket(AF_INET6, SOCK_STREAM, 0);
	struct sockaddr_in6 address = { .sin6_family = AF_INET6, .sin6_addr = in6addr_loopback };
	socklen_t length = sizeof(address);
	struct pair pair = { .client = socket(AF_INET6, SOCK_STREAM, 0) };

	if (bind(listener, (struct sockaddr *)&address, sizeof(address)))
		skip(); /* a machine without IPv6 */
	assert_return_code(listen(listener, 1), 0);
	assert_return_code(getsockname(listener, (struct sockaddr *)&address, &length), 0);
	assert_return_code(connect(pair.client, (struct sockaddr *)&address, sizeof(address)), 0);
	pair.server = accept(listener, NULL, NULL);
	assert_true(pair.server >= 0);
	close(listener);
	return pair;
}

static void both_ends_are_bounded(struct pair pair)
{
	send_queue_bound(pair.server);
	send_queue_bound(pair.client);
	assert_int_equal(queue_of(pair.server), bounded());
	assert_int_equal(queue_of(pair.client), bounded());
	close_pair(pair);
}

static void tcp_within_the_host_is_bounded(void **state)
{
	(void)state;
	both_ends_are_bounded(connect_inet("127.0.0.1", "127.0.0.1"));
}

static void ipv6_is_too(void **state)
{
	(void)state;
	both_ends_are_bounded(connect_inet6());
}

static void unix_sockets_are_too(void **state)
{
	int ends[2];

	(void)state;
	assert_return_code(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	both_ends_are_bounded((struct pair){ ends[0], ends[1] });
}

static void two_addresses_are_a_network(void **state)
{
	struct pair pair = connect_inet("127.0.0.1", "127.0.0.2");
	int before = queue_of(pair.client);

	(void)state;
	send_queue_bound(pair.client);
	assert_int_equal(queue_of(pair.client), before);
	close_pair(pair);
}

static void what_is_not_connected_stays_as_it_is(void **state)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0), before = queue_of(fd);

	(void)state;
	send_queue_bound(fd);
	assert_int_equal(queue_of(fd), before);
	close(fd);
	send_queue_bound(-1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(tcp_within_the_host_is_bounded),
		cmocka_unit_test(ipv6_is_too),
		cmocka_unit_test(unix_sockets_are_too),
		cmocka_unit_test(two_addresses_are_a_network),
		cmocka_unit_test(what_is_not_connected_stays_as_it_is),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
