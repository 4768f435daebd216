/* A device that is killed between any two instructions leaves a record from which its successor takes exactly those
 * chains again that the driver still waits for, in their order, split and packed.  If this fails, a crash of the daemon
 * now and then loses a guest's request, which then hangs for ever, or completes one twice, which kills its driver.
 *
 * The device works in a child process, step by step; after each instruction that has changed the memory it shares, a
 * successor is tried on a copy of that memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <signal.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "packed_driver.h"

enum { SIZE = 8, OFFERS_MAX = 64 };

/* gcc's way to say that a sanitizer is at work; this is clang's. */
#ifdef __has_feature
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__
#endif
#endif

/* To follow a sanitizer's own instructions for minutes would show nothing more. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { ROUNDS = 3, MOMENTS_MIN = 20 };
#else
enum { ROUNDS = 14, MOMENTS_MIN = 100 };
#endif

/* Where the record is in the driver's second region, which no buffer uses; ring and record lie in these bytes. */
enum { AT_RECORD = DRIVER_REGION + 0x10000, RECORD_BYTES = 1024 };

/* What a driver offers by turns: chains of these many descriptors, under ids that are their places in here. */
struct scenario {
	const char *name;
	bool packed;
	unsigned size, chains;
	uint16_t counts[4];
	uint64_t features;
};

static const struct scenario scenarios[] = {
	{ "split, chains of two", false, SIZE, 4, { 2, 2, 2, 2 }, 0 },
	{ "packed, chains that fill the ring", true, SIZE - 1, 4, { 1, 3, 2, 1 }, 0 },
	{ "packed, room to spare", true, SIZE, 3, { 2, 1, 2 }, 0 },
	{ "packed, one chain as long as the ring", true, 5, 1, { 5 }, 0 },
	{ "split, in order", false, SIZE, 4, { 2, 2, 2, 2 }, VIRTIO_F_IN_ORDER },
	{ "packed, in order", true, SIZE - 1, 4, { 1, 3, 2, 1 }, VIRTIO_F_IN_ORDER },
};

/* A driver and what it waits for, in the order it was offered. */
struct world {
	const struct scenario *scenario;
	struct driver driver;
	struct packed_driver packed;
	uint16_t used_seen;
	struct guest_memory *memory;
	uint16_t waits[OFFERS_MAX];
	unsigned wait_count;
	bool busy[4];
};

static struct vring ring;

static void world_begin(struct world *w, const struct scenario *scenario)
{
	memset(w, 0, sizeof(*w));
	w->scenario = scenario;
	driver_init(&w->driver, (uint16_t)scenario->size);
	packed_init(&w->packed, &w->driver, PACKED_START);
	w->memory = driver_memory(&w->driver);
}

static void world_end(struct world *w)
{
	guest_memory_put(w->memory);
	driver_fini(&w->driver);
}

static void *record_of(struct world *w)
{
	return w->driver.bytes + AT_RECORD;
}

/* The same driver with the same memory, elsewhere. */
static void world_copy(struct world *to, const struct world *from)
{
	struct driver driver = to->driver;
	struct packed_driver packed = to->packed;
	struct guest_memory *memory = to->memory;

	*to = *from;
	to->driver = driver;
	to->memory = memory;
	packed.next_avail = from->packed.next_avail;
	packed.next_used = from->packed.next_used;
	packed.avail_wrap = from->packed.avail_wrap;
	packed.used_wrap = from->packed.used_wrap;
	to->packed = packed;
	memcpy(to->driver.bytes + AT_DESC, from->driver.bytes + AT_DESC, SIZE * 16);
	memcpy(to->driver.bytes + AT_AVAIL, from->driver.bytes + AT_AVAIL, 64);
	memcpy(to->driver.bytes + AT_USED, from->driver.bytes + AT_USED, 128);
	memcpy(to->driver.bytes + AT_RECORD, from->driver.bytes + AT_RECORD, RECORD_BYTES);
}

static bool has_changed(const struct world *now, const struct world *then)
{
	return memcmp(now->driver.bytes + AT_DESC, then->driver.bytes + AT_DESC, SIZE * 16) ||
	       memcmp(now->driver.bytes + AT_AVAIL, then->driver.bytes + AT_AVAIL, 64) ||
	       memcmp(now->driver.bytes + AT_USED, then->driver.bytes + AT_USED, 128) ||
	       memcmp(now->driver.bytes + AT_RECORD, then->driver.bytes + AT_RECORD, RECORD_BYTES);
}

/* The driver's side */

static unsigned chain_of(const struct world *w, uint16_t id)
{
	return w->scenario->packed ? id : id / 2u;
}

static uint16_t id_of(const struct world *w, unsigned chain)
{
	return (uint16_t)(w->scenario->packed ? chain : chain * 2);
}

static void offer_split(struct world *w, unsigned chain)
{
	unsigned head = chain * 2;

	driver_describe(&w->driver.desc[head], AT_DATA, 16, DESC_NEXT, head + 1);
	driver_describe(&w->driver.desc[head + 1], AT_DATA + 64, 16, DESC_WRITE, 0);
	driver_offer(&w->driver, (uint16_t)head);
}

static void offer_packed(struct world *w, unsigned chain)
{
	unsigned count = w->scenario->counts[chain];
	uint16_t first = w->packed.next_avail;

	for (unsigned i = 0; i < count; i++)
		packed_describe(&w->packed, AT_DATA, 16, i + 1 < count ? DESC_NEXT : 0, (uint16_t)chain);
	packed_offer(&w->packed, first);
}

/* All that may be, the first of them first. */
static void offer_all(struct world *w, unsigned first)
{
	for (unsigned i = 0; i < w->scenario->chains; i++) {
		unsigned chain = (first + i) % w->scenario->chains;

		if (w->busy[chain])
			continue;
		w->busy[chain] = true;
		w->waits[w->wait_count++] = id_of(w, chain);
		if (w->scenario->packed)
			offer_packed(w, chain);
		else
			offer_split(w, chain);
	}
}

/* Returns the id of the next used chain, or -1. */
static int next_used(struct world *w)
{
	const struct packed_desc *desc;

	if (!w->scenario->packed) {
		if (*driver_used_idx(&w->driver) == w->used_seen)
			return -1;
		return (int)driver_used_at(&w->driver, w->used_seen++).id;
	}
	desc = packed_used(&w->packed, 0);
	if (!desc)
		return -1;
	assert_true(desc->id < w->scenario->chains);
	packed_used(&w->packed, w->scenario->counts[desc->id]);
	return desc->id;
}

/* Each has to be one that it waits for. */
static void reap(struct world *w)
{
	int id;

	while ((id = next_used(w)) >= 0) {
		unsigned at = 0;

		while (at < w->wait_count && w->waits[at] != id)
			at++;
		assert_true(at < w->wait_count);
		assert_true(at == 0 || !(w->scenario->features & VIRTIO_F_IN_ORDER));
		w->wait_count--;
		memmove(&w->waits[at], &w->waits[at + 1], (w->wait_count - at) * sizeof(w->waits[0]));
		w->busy[chain_of(w, (uint16_t)id)] = false;
	}
}

/* The device's side */

static void device_fail(void)
{
	print_error("the ring is broken: %s\n", ring.broken);
	abort();
}

static void device_begin(struct world *w)
{
	struct vring_setup setup = driver_setup(&w->driver, w->scenario->features, 0);

	if (w->scenario->packed) {
		setup.features |= VIRTIO_F_RING_PACKED;
		setup.base = PACKED_START;
	}
	setup.record = record_of(w);
	setup.record_bytes = RECORD_BYTES;
	if (vring_init(&ring, &setup, w->memory))
		device_fail();
}

static unsigned device_take(uint16_t *ids)
{
	struct iovec iov[SIZE];
	struct vring_chain chain = { .iov = iov, .iov_max = SIZE };
	enum vring_taken taken;
	unsigned count = 0;

	while ((taken = vring_take(&ring, &chain)) == VRING_TAKEN)
		ids[count++] = chain.id;
	if (taken == VRING_BROKEN)
		device_fail();
	return count;
}

/* Its life: takes what there is, gives some of it back, last come first served, waits for the driver; is followed by
 * another now and then. */
static void device_live(struct world *w)
{
	uint16_t ids[OFFERS_MAX];
	unsigned count = 0;

	device_begin(w);
	for (unsigned round = 0; round < ROUNDS; round++) {
		unsigned keep = round % 3;

		count += device_take(ids + count);
		while (count > keep)
			vring_give(&ring, ids[--count], 16);
		vring_publish(&ring);
		raise(SIGSTOP);
		if (round % 4 == 3) {
			device_begin(w);
			count = 0;
		}
	}
	_exit(0);
}

/* What is expected of a successor at any moment. */
static void try_successor(const struct world *w, struct world *copy, bool driver_goes_on)
{
	uint16_t ids[OFFERS_MAX];
	unsigned count;

	world_copy(copy, w);
	reap(copy);
	if (driver_goes_on)
		offer_all(copy, 0);
	device_begin(copy);
	count = device_take(ids);
	assert_int_equal(count, copy->wait_count);
	for (unsigned i = 0; i < count; i++)
		assert_int_equal(ids[i], copy->waits[i]);
	while (count-- > 0)
		vring_give(&ring, ids[count], 16);
	vring_publish(&ring);
	reap(copy);
	assert_int_equal(copy->wait_count, 0);
	/* And it goes on from there. */
	offer_all(copy, 1);
	assert_int_equal(device_take(ids), copy->scenario->chains);
}

/* Returns the child's state at its next stop. */
static int step(pid_t child)
{
	int status = 0;

	if (ptrace(PTRACE_SINGLESTEP, child, NULL, NULL) || waitpid(child, &status, 0) != child)
		fail_msg("the child cannot be followed");
	return status;
}

static unsigned follow(pid_t child, struct world *w)
{
	struct world last, copy;
	unsigned moments = 0, round = 0;
	int status;

	world_begin(&last, w->scenario);
	world_begin(&copy, w->scenario);
	world_copy(&last, w);
	while (!WIFEXITED(status = step(child))) {
		assert_true(WIFSTOPPED(status));
		if (WSTOPSIG(status) == SIGSTOP) {
			reap(w);
			offer_all(w, ++round);
		}
		if (!has_changed(w, &last))
			continue;
		try_successor(w, &copy, false);
		try_successor(w, &copy, true);
		world_copy(&last, w);
		moments++;
	}
	assert_int_equal(WEXITSTATUS(status), 0);
	assert_int_equal(round, ROUNDS);
	world_end(&copy);
	world_end(&last);
	return moments;
}

static void nothing_is_lost_or_repeated(void **state)
{
	const struct scenario *scenario = *state;
	struct world w;
	unsigned moments;
	pid_t child;
	int status;

	world_begin(&w, scenario);
	offer_all(&w, 0);
	child = fork();
	assert_true(child >= 0);
	if (child == 0) {
		if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
			_exit(77);
		raise(SIGSTOP);
		device_live(&w);
	}
	assert_int_equal(waitpid(child, &status, 0), child);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 77) {
		assert_null(getenv("CI"));
		print_message("# no ptrace here\n");
		skip();
	}
	moments = follow(child, &w);
	print_message("# %s: %u moments\n", scenario->name, moments);
	assert_true(moments > MOMENTS_MIN);
	world_end(&w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_prestate(nothing_is_lost_or_repeated, (void *)&scenarios[0]),
		cmocka_unit_test_prestate(nothing_is_lost_or_repeated, (void *)&scenarios[1]),
		cmocka_unit_test_prestate(nothing_is_lost_or_repeated, (void *)&scenarios[2]),
		cmocka_unit_test_prestate(nothing_is_lost_or_repeated, (void *)&scenarios[3]),
		cmocka_unit_test_prestate(nothing_is_lost_or_repeated, (void *)&scenarios[4]),
		cmocka_unit_test_prestate(nothing_is_lost_or_repeated, (void *)&scenarios[5]),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
