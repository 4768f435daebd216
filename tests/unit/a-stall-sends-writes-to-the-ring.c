/* A write into the page cache that blocks the worker closes the way around the ring, for longer each time it repeats;
 * and a filesystem that can write without blocking never takes that way.  If this fails, one slow disk stops every
 * connection of its worker, or writes cost twice the CPU time that they need. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <time.h>
#include <cmocka.h>

#include "cache/inline_write.h"

/* In place of the C library's. */
static unsigned calls;
static uint64_t takes_ns;
static bool has_nowait;
static uint64_t now_ns = 1000000000;

/* A clock that only our writes move: on a busy machine the real one makes a stall of any write. */
int clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	now->tv_sec = (time_t)(now_ns / 1000000000);
	now->tv_nsec = (long)(now_ns % 1000000000);
	return 0;
}

ssize_t pwritev2(int fd, const struct iovec *iov, int count, off_t offset, int flags)
{
	(void)fd;
	(void)count;
	(void)offset;
	calls++;
	if ((flags & RWF_NOWAIT) && !has_nowait) {
		errno = EOPNOTSUPP;
		return -1;
	}
	now_ns += takes_ns;
	return (ssize_t)iov->iov_len;
}

static char data[INLINE_WRITE_MAX + 4096];

static int try_write(struct inline_gate *gate, uint64_t offset, size_t length)
{
	struct iovec iov = { .iov_base = data, .iov_len = length };
	const struct block_req req = {
		.op = BLOCK_WRITE, .offset = offset, .length = length, .iov = &iov, .iov_count = 1
	};

	return inline_write(gate, 0, &req);
}

static void learn(struct inline_gate *gate, bool may, bool nowait)
{
	inline_gate_init(gate, may);
	calls = 0;
	takes_ns = 0;
	has_nowait = nowait;
	try_write(gate, 0, 4096);
}

static void which_writes(void **state)
{
	struct inline_gate gate;

	(void)state;
	learn(&gate, true, false);
	assert_int_equal(try_write(&gate, 4096, 4096), 4096);
	assert_int_equal(try_write(&gate, 0, INLINE_WRITE_MAX), INLINE_WRITE_MAX);
	assert_int_equal(calls, 3);
	assert_int_equal(try_write(&gate, 0, INLINE_WRITE_MAX + 4096), 0);
	assert_int_equal(try_write(&gate, 512, 4096), 0);
	assert_int_equal(try_write(&gate, 0, 512), 0);
	assert_int_equal(calls, 3);
}

static void which_files(void **state)
{
	struct inline_gate gate;

	(void)state;
	learn(&gate, true, true);
	assert_int_equal(calls, 1);
	assert_int_equal(try_write(&gate, 0, 4096), 0);
	learn(&gate, false, false);
	assert_int_equal(try_write(&gate, 0, 4096), 0);
	assert_int_equal(calls, 0);
}

static uint64_t pause_of(const struct inline_gate *gate)
{
	return gate->pause_ns;
}

/* Lets the gate's pause pass without waiting for it. */
static void open_again(const struct inline_gate *gate)
{
	now_ns += pause_of(gate);
}

static void after_a_stall(void **state)
{
	struct inline_gate gate;

	(void)state;
	learn(&gate, true, false);
	takes_ns = 2 * INLINE_STALL_NS;
	assert_int_equal(try_write(&gate, 0, 4096), 4096);
	assert_int_equal(pause_of(&gate), INLINE_PAUSE_MIN_NS);
	calls = 0;
	assert_int_equal(try_write(&gate, 0, 4096), 0);
	assert_int_equal(calls, 0);
	for (int i = 1; i < 12; i++) {
		open_again(&gate);
		assert_int_equal(try_write(&gate, 0, 4096), 4096);
		assert_true(pause_of(&gate) == INLINE_PAUSE_MIN_NS << i ||
			    pause_of(&gate) == INLINE_PAUSE_MAX_NS);
	}
	assert_int_equal(pause_of(&gate), INLINE_PAUSE_MAX_NS);
	takes_ns = 0;
	open_again(&gate);
	assert_int_equal(try_write(&gate, 0, 4096), 4096);
	assert_int_equal(try_write(&gate, 0, 4096), 4096);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(which_writes),
		cmocka_unit_test(which_files),
		cmocka_unit_test(after_a_stall),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
