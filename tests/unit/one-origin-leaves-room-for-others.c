/* Connections are counted by where they come from, and a place that was left can be taken again.
 * If this fails, one broken client uses up the server's connections, or a server refuses clients after a while for good. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <linux/vm_sockets.h>

#include "server/admission.h"

static struct admission admission;

static struct peer inet(const char *text)
{
	struct peer peer = { .address.length = sizeof(struct sockaddr_in) };
	struct sockaddr_in *in = (struct sockaddr_in *)&peer.address.sockaddr;
	struct sockaddr_in6 *in6 = (struct sockaddr_in6 *)&peer.address.sockaddr;

	if (inet_pton(AF_INET, text, &in->sin_addr) == 1) {
		in->sin_family = AF_INET;
	} else {
		assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
		in6->sin6_family = AF_INET6;
	}
	return peer;
}

static struct peer local(uid_t uid)
{
	return (struct peer){ .address = { .length = 2, .sockaddr.ss_family = AF_UNIX }, .uid = uid };
}

static struct peer machine(unsigned cid, unsigned port)
{
	struct peer peer = { .address.length = sizeof(struct sockaddr_vm) };
	struct sockaddr_vm vm = { .svm_family = AF_VSOCK, .svm_cid = cid, .svm_port = port };

	memcpy(&peer.address.sockaddr, &vm, sizeof(vm));
	return peer;
}

static bool enter(struct peer peer, struct origin **origin)
{
	enum close_reason why;

	return admission_enter(&admission, &peer, origin, &why);
}

static enum close_reason refusal(struct peer peer)
{
	struct origin *origin;
	enum close_reason why;

	assert_false(admission_enter(&admission, &peer, &origin, &why));
	return why;
}

/* Whether a second connection, from @other, has the origin of one from @one. */
static bool are_one_origin(struct peer one, struct peer other)
{
	struct origin *first, *second;
	bool refused;

	admission_init(&admission, 10, 1);
	assert_true(enter(one, &first));
	refused = !enter(other, &second);
	origin_leave(first);
	if (!refused)
		origin_leave(second);
	admission_fini(&admission);
	return refused;
}

static void an_origin_is_what_a_client_cannot_change(void **state)
{
	(void)state;
	assert_true(are_one_origin(inet("10.0.0.1"), inet("10.0.0.1")));
	assert_true(are_one_origin(inet("10.0.0.1"), inet("::ffff:10.0.0.1")));
	assert_false(are_one_origin(inet("10.0.0.1"), inet("10.0.0.2")));
	assert_true(are_one_origin(inet("2001:db8:1:2::1"), inet("2001:db8:1:2:3:4:5:6")));
	assert_false(are_one_origin(inet("2001:db8:1:2::1"), inet("2001:db8:1:3::1")));
	assert_true(are_one_origin(local(5), local(5)));
	assert_false(are_one_origin(local(5), local(6)));
	assert_true(are_one_origin(machine(3, 1), machine(3, 2)));
	assert_false(are_one_origin(machine(3, 1), machine(4, 1)));
	assert_false(are_one_origin(local(3), machine(3, 1)));
}

static void the_limits_hold_and_places_come_back(void **state)
{
	struct origin *origins[3], *other;

	(void)state;
	admission_init(&admission, 3, 2);
	assert_true(enter(inet("10.0.0.1"), &origins[0]));
	assert_true(enter(inet("10.0.0.1"), &origins[1]));
	assert_int_equal(refusal(inet("10.0.0.1")), CLOSE_per_address_max);
	assert_true(enter(inet("10.0.0.2"), &origins[2]));
	assert_int_equal(refusal(inet("10.0.0.3")), CLOSE_connections_max);
	origin_leave(origins[0]);
	assert_true(enter(inet("10.0.0.1"), &other));
	origin_leave(other);
	origin_leave(origins[1]);
	origin_leave(origins[2]);
	assert_int_equal(atomic_load(&admission.connections), 0);
	admission_fini(&admission);
}

/* The leak checker has the rest of the say. */
static void origins_that_are_gone_are_forgotten(void **state)
{
	(void)state;
	admission_init(&admission, 10, 1);
	for (unsigned cid = 0; cid < 20 * ADMISSION_BUCKETS; cid++) {
		struct origin *origin;

		assert_true(enter(machine(cid, 1), &origin));
		origin_leave(origin);
	}
	/* What is left are those after whom nobody has looked into their bucket. */
	for (int i = 0; i < ADMISSION_BUCKETS; i++) {
		/* The first member of an origin is the next one. */
		struct origin *const *first = (struct origin *const *)admission.buckets[i];

		assert_true(!first || !*first);
	}
	admission_fini(&admission);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_origin_is_what_a_client_cannot_change),
		cmocka_unit_test(the_limits_hold_and_places_come_back),
		cmocka_unit_test(origins_that_are_gone_are_forgotten),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
