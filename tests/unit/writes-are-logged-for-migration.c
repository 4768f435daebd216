/* Every byte of the guest's memory that changes while a VMM migrates the guest is in the log of dirty pages when the
 * driver hears of it: data, status bytes, serial, rings.  If this fails, a migrated guest goes on with stale memory: wrong
 * file contents, or a crash, on the machine it went to. */
#include "packed_driver.h"
#include "vmm.h"

enum { PAGE = 4096, REGIONS = 2 * DRIVER_REGION, PAGES = REGIONS / PAGE };

/* Where the first ring's used part is logged, if not where it is: behind all memory. */
#define LOG_ELSEWHERE (3ull << 30)
#define LOG_BYTES     ((LOG_ELSEWHERE + (1 << 20)) / PAGE / 8)

static struct vmm vmm;
static struct packed_driver packed[VMM_QUEUES];
static bool is_packed;
static int log_fd;
static uint8_t *bits;
static uint8_t before[VMM_QUEUES][REGIONS];
static uint64_t features;

/* A split ring's used index is on one page, its elements on the next. */
static size_t used_at(void)
{
	return is_packed ? AT_USED : AT_USED + PAGE - 4;
}

static bool marked(uint64_t address)
{
	return bits[address / PAGE / 8] & 1 << address / PAGE % 8;
}

static unsigned marks(void)
{
	unsigned count = 0;

	for (size_t i = 0; i < LOG_BYTES; i++)
		count += (unsigned)__builtin_popcount(bits[i]);
	return count;
}

static uint64_t address_of(unsigned q, size_t at)
{
	return DRIVER_GUEST + q * (1ull << 30) + at;
}

/* From here on the memory is watched. */
static void watch(void)
{
	memset(bits, 0, LOG_BYTES);
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		memcpy(before[q], vmm.driver[q].bytes, REGIONS);
}

/* Every page that has changed is marked. Returns how many have. */
static unsigned changed_pages_are_marked(void)
{
	unsigned changed = 0;

	for (unsigned i = 0; i < VMM_QUEUES * PAGES; i++) {
		unsigned q = i / PAGES, at = i % PAGES * PAGE;

		if (memcmp(before[q] + at, vmm.driver[q].bytes + at, PAGE) == 0)
			continue;
		changed++;
		assert_true(marked(address_of(q, at)));
	}
	return changed;
}

static int set_log(uint64_t size, uint64_t offset)
{
	struct vhost_user_log log = { size, offset };
	uint64_t answer = 1;
	int got;

	vmm_send(&vmm, VHOST_USER_SET_LOG_BASE, &log, sizeof(log), &log_fd, 1);
	got = vmm_receive(&vmm, VHOST_USER_SET_LOG_BASE, &answer, sizeof(answer));
	if (got == sizeof(answer))
		assert_int_equal(answer, 0);
	return got;
}

static void set_addr(unsigned q, unsigned flags, uint64_t log)
{
	struct vhost_user_vring_addr addr = {
		.index = q,
		.flags = flags,
		.desc = DRIVER_USER + q * (1ull << 30) + AT_DESC,
		.used = DRIVER_USER + q * (1ull << 30) + used_at(),
		.avail = DRIVER_USER + q * (1ull << 30) + AT_AVAIL,
		.log = log,
	};

	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
}

/* As QEMU does it below running rings: the log, the feature, the rings. */
static void begin_migration(void)
{
	assert_int_equal(set_log(LOG_BYTES, PAGE), sizeof(uint64_t));
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, features | VHOST_F_LOG_ALL), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		set_addr(q, VHOST_USER_VRING_F_LOG, address_of(q, used_at()));
}

static void end_migration(void)
{
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, features), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		set_addr(q, 0, 0);
}

static void boot(bool with_packed, uint64_t more_features)
{
	is_packed = with_packed;
	features = VHOST_USER_F_PROTOCOL_FEATURES | VIRTIO_F_VERSION_1 | VIRTIO_F_RING_INDIRECT_DESC |
		   VIRTIO_BLK_F_FLUSH | more_features | (is_packed ? VIRTIO_F_RING_PACKED : 0);
	log_fd = memfd_create("log", MFD_CLOEXEC);
	assert_int_equal(ftruncate(log_fd, PAGE + LOG_BYTES), 0);
	bits = mmap(NULL, LOG_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, log_fd, PAGE);
	assert_ptr_not_equal(bits, MAP_FAILED);
	vmm_begin(&vmm);
	memset(vmm.disk.bytes, 0x5d, sizeof(vmm.disk.bytes));
	vmm_connect(&vmm);
	vmm_negotiate(&vmm, features);
	assert_int_equal(vmm_set_memory(&vmm), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		packed_init(&packed[q], &vmm.driver[q], PACKED_START);
		vmm_describe_ring(&vmm, q, 0);
		set_addr(q, 0, 0);
		if (is_packed)
			assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_BASE, q, PACKED_START), 0);
		assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, q, 1), 0);
		guest_kick(&vmm, q);
		pump(&vmm);
	}
}

static void end(void)
{
	vmm_end(&vmm);
	munmap(bits, LOG_BYTES);
	close(log_fd);
}

/* One request, header at AT_DATA + slot * 64 KiB, data @into it, the status somewhere else. Its place is returned. */
static uint8_t *ask(unsigned q, unsigned slot, uint32_t type, uint64_t sector, unsigned into, uint32_t length)
{
	struct driver *driver = &vmm.driver[q];
	uint64_t at = AT_DATA + slot * 0x10000u, gap = q * (1ull << 30);
	struct virtio_blk_header header = { type, 0, sector };
	unsigned data_flags = DESC_NEXT | (type == VIRTIO_BLK_T_OUT ? 0 : DESC_WRITE);
	uint64_t status = DRIVER_REGION + 0x40000 + slot * 0x1000u;
	uint16_t head = (uint16_t)(3 * slot);

	memcpy(driver->bytes + at, &header, sizeof(header));
	driver->bytes[status] = 0xff;
	if (is_packed) {
		uint16_t place = packed_describe(&packed[q], gap + at, 16, DESC_NEXT, head);

		packed_describe(&packed[q], gap + at + into, length, data_flags, head);
		packed_describe(&packed[q], gap + status, 1, DESC_WRITE, head);
		packed_offer(&packed[q], place);
	} else {
		driver_describe(&driver->desc[head], gap + at, 16, DESC_NEXT, head + 1);
		driver_describe(&driver->desc[head + 1], gap + at + into, length, data_flags, head + 2);
		driver_describe(&driver->desc[head + 2], gap + status, 1, DESC_WRITE, 0);
		driver_offer(driver, head);
	}
	return driver->bytes + status;
}

static void serve(unsigned q)
{
	guest_kick(&vmm, q);
	pump(&vmm);
}

/* Unaligned, over pages and over the border of the two regions; then what does not come from the disk. */
static void every_change_is_logged(bool with_packed, uint64_t more_features)
{
	static const struct {
		uint32_t type, length;
		unsigned slot, into;
		unsigned at_least; /* pages that change */
	} cases[] = {
		{ VIRTIO_BLK_T_IN, 512, 0, 64, 2 },
		{ VIRTIO_BLK_T_IN, 3 * PAGE, 1, 100, 5 },
		{ VIRTIO_BLK_T_IN, 0x8000, 13, 0xf800, 10 },
		{ VIRTIO_BLK_T_OUT, 512, 2, 64, 1 },
		{ VIRTIO_BLK_T_GET_ID, 20, 3, PAGE - 10, 1 },
		{ VIRTIO_BLK_T_IN, 511, 4, 64, 1 },
		{ 77, 512, 4, 64, 1 },
	};

	boot(with_packed, more_features);
	begin_migration();
	for (unsigned q = 0; q < VMM_QUEUES; q++) {
		for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
			uint8_t *status =
				ask(q, cases[i].slot, cases[i].type, 8 * i, cases[i].into, cases[i].length);

			watch();
			serve(q);
			assert_int_not_equal(*status, 0xff);
			assert_in_range(changed_pages_are_marked(), cases[i].at_least + 1, 20);
			/* Nor is everything marked: this would make migrations endless. */
			assert_in_range(marks(), 1, 20);
		}
	}
	end_migration();
	ask(0, 1, VIRTIO_BLK_T_IN, 0, 64, 3 * PAGE);
	watch();
	serve(0);
	assert_int_equal(marks(), 0);
	end();
}

static void split_rings_log_every_change(void **state)
{
	(void)state;
	every_change_is_logged(false, 0);
	every_change_is_logged(false, VIRTIO_F_RING_EVENT_IDX);
}

static void packed_rings_log_every_change(void **state)
{
	(void)state;
	every_change_is_logged(true, 0);
	every_change_is_logged(true, VIRTIO_F_RING_EVENT_IDX);
}

/* They were taken before anybody wanted to know, and end after. */
static void what_is_in_flight_when_it_begins_is_logged(void **state)
{
	(void)state;
	for (unsigned with_packed = 0; with_packed < 2; with_packed++) {
		boot(with_packed, 0);
		vmm.disk.hold = true;
		ask(0, 0, VIRTIO_BLK_T_IN, 0, 100, 3 * PAGE);
		ask(1, 1, VIRTIO_BLK_T_IN, 8, 100, 512);
		serve(0);
		serve(1);
		assert_int_equal(vmm.disk.held_count, 2);
		begin_migration();
		watch();
		disk_release(&vmm.disk);
		pump(&vmm);
		assert_true(changed_pages_are_marked() >= 4 + 1 + 1 + 1 + 1 + 1);
		end();
	}
}

/* What it was before the log, a VMM may have copied already. */
static void the_whole_ring_counts_as_written_when_it_begins(void **state)
{
	(void)state;
	boot(false, 0);
	watch();
	begin_migration();
	assert_true(marked(address_of(0, used_at())) && marked(address_of(1, used_at() + PAGE)));
	end();
	boot(true, 0);
	watch();
	begin_migration();
	assert_true(marked(address_of(0, AT_USED)) && marked(address_of(0, AT_DESC)));
	end();
}

static void the_used_ring_is_logged_where_the_vmm_says(void **state)
{
	(void)state;
	boot(false, 0);
	begin_migration();
	set_addr(0, VHOST_USER_VRING_F_LOG, LOG_ELSEWHERE);
	ask(0, 0, VIRTIO_BLK_T_OUT, 0, 64, 512);
	watch();
	serve(0);
	assert_true(marked(LOG_ELSEWHERE));
	assert_false(marked(address_of(0, used_at())));
	/* Not at all, while the rest is logged. */
	set_addr(0, 0, LOG_ELSEWHERE);
	ask(0, 0, VIRTIO_BLK_T_OUT, 0, 64, 512);
	watch();
	serve(0);
	assert_int_equal(marks(), 1);
	/* Beyond the log, and around the end of all addresses: nothing happens to us. */
	for (uint64_t at = LOG_BYTES * 8 * PAGE - 4; at;
		at = at < LOG_BYTES * 8 * PAGE ? UINT64_MAX - 2 : 0) {
		set_addr(0, VHOST_USER_VRING_F_LOG, at);
		ask(0, 0, VIRTIO_BLK_T_IN, 0, 64, 512);
		watch();
		serve(0);
		assert_in_range(marks(), 2, 4);
	}
	end();
}

/* The feature and the rings' flags may change in any order. */
static void data_are_logged_while_the_feature_says_so(void **state)
{
	(void)state;
	boot(false, 0);
	begin_migration();
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, features), 0);
	ask(0, 0, VIRTIO_BLK_T_IN, 0, 100, 3 * PAGE);
	watch();
	serve(0);
	assert_int_equal(marks(), 2);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_FEATURES, features | VHOST_F_LOG_ALL), 0);
	ask(0, 0, VIRTIO_BLK_T_IN, 8, 100, 3 * PAGE);
	watch();
	serve(0);
	assert_int_equal(marks(), 2 + 4 + 1);
	end();
}

static void a_restarted_ring_is_logged(void **state)
{
	struct vhost_user_vring_state ring = { 0, 0 };

	(void)state;
	boot(false, 0);
	begin_migration();
	vmm_send(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring), NULL, 0);
	assert_int_equal(vmm_receive(&vmm, VHOST_USER_GET_VRING_BASE, &ring, sizeof(ring)), sizeof(ring));
	vmm_describe_ring(&vmm, 0, ring.num);
	set_addr(0, VHOST_USER_VRING_F_LOG, address_of(0, used_at()));
	ask(0, 0, VIRTIO_BLK_T_IN, 0, 100, 3 * PAGE);
	watch();
	serve(0);
	assert_true(changed_pages_are_marked() >= 6);
	end();
}

static void a_log_that_cannot_be_is_refused(void **state)
{
	const struct {
		uint64_t size, offset;
	} cases[] = { { 0, 0 }, { 8, 0 }, { LOG_BYTES + 1, PAGE }, { LOG_BYTES, UINT64_MAX - LOG_BYTES + 1 },
		{ UINT64_MAX, 0 }, { LOG_BYTES, 2 * PAGE } };

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		unsigned open;

		boot(false, 0);
		open = open_descriptors();
		/* Its answer has no place for a refusal. */
		assert_int_equal(set_log(cases[i].size, cases[i].offset), CLOSED);
		vmm_disconnect(&vmm);
		pump(&vmm);
		assert_true(open_descriptors() < open);
		end();
	}
	/* Off the page, in an odd size: fine. */
	boot(false, 0);
	assert_int_equal(set_log(LOG_BYTES - 3, PAGE + 3), sizeof(uint64_t));
	assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_LOG_FD, NULL, 0, &vmm.call[0], 1), 0);
	end();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(split_rings_log_every_change),
		cmocka_unit_test(packed_rings_log_every_change),
		cmocka_unit_test(what_is_in_flight_when_it_begins_is_logged),
		cmocka_unit_test(the_whole_ring_counts_as_written_when_it_begins),
		cmocka_unit_test(the_used_ring_is_logged_where_the_vmm_says),
		cmocka_unit_test(data_are_logged_while_the_feature_says_so),
		cmocka_unit_test(a_restarted_ring_is_logged),
		cmocka_unit_test(a_log_that_cannot_be_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
