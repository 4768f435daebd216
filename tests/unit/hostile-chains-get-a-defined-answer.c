/* Whatever chain of buffers a driver offers, through split and packed rings alike, it gets one answer: the status that the
 * specification names; or, where nothing in the ring can be trusted any more, that queue stops, its VMM is told, and the
 * other one goes on.  If this fails, a guest crashes or hangs the process that serves other guests, too, or reads what
 * is not its own. */
#include "packed_driver.h"
#include "vmm.h"

enum { BUFFERS_MAX = 6, SECTORS = DISK_BYTES / 512 };

/* Where the parts of a request are in each ring's memory. */
enum { AT_HEADER = AT_DATA, AT_STATUS = AT_DATA + 0x1000, AT_PAYLOAD = AT_DATA + 0x2000 };

enum outcome {
	OUTCOME_OK = VIRTIO_BLK_S_OK,
	OUTCOME_IOERR = VIRTIO_BLK_S_IOERR,
	OUTCOME_UNSUPP = VIRTIO_BLK_S_UNSUPP,
	OUTCOME_UNTOLD = 0xff, /* given back, without a status */
	OUTCOME_STOPS,	       /* the queue */
};

struct buffer {
	uint64_t at;
	uint32_t length;
	unsigned flags;
};

struct hostile {
	const char *name;
	enum outcome outcome;
	uint32_t type;
	uint64_t sector;
	struct buffer buffers[BUFFERS_MAX]; /* up to the first without address and length */
	struct buffer table[BUFFERS_MAX];   /* at AT_TABLE, each linked to the next */
	struct virtio_blk_range ranges[2];
	bool split_only, packed_only;
};

#define IN  VIRTIO_BLK_T_IN
#define OUT VIRTIO_BLK_T_OUT
#define W   DESC_WRITE

#define HEADER                   \
	{                        \
		AT_HEADER, 16, 0 \
	}
#define STATUS                  \
	{                       \
		AT_STATUS, 1, W \
	}
#define READS(length)                 \
	{                             \
		AT_PAYLOAD, length, W \
	}
#define WRITES(length)                \
	{                             \
		AT_PAYLOAD, length, 0 \
	}
#define RANGES(length)                    \
	{                                 \
		AT_HEADER + 16, length, 0 \
	}
#define TABLE(length, flags)                              \
	{                                                 \
		AT_TABLE, length, DESC_INDIRECT | (flags) \
	}
/* As guest addresses: what is added to them goes round. */
#define BEYOND	 (1ull << 40)
#define WRAPPING (0 - DRIVER_GUEST - 256)

static const struct hostile hostiles[] = {
	/* What a chain is made of. */
	{ "sound", OUTCOME_OK, IN, 0, .buffers = { HEADER, READS(512), STATUS } },
	{ "no header", OUTCOME_IOERR, IN, 0, .buffers = { READS(512), STATUS } },
	{ "half a header", OUTCOME_IOERR, IN, 0, .buffers = { { AT_HEADER, 15, 0 }, READS(512), STATUS } },
	{ "a writable header", OUTCOME_IOERR, IN, 0,
		.buffers = { { AT_HEADER, 16, W }, READS(512), STATUS } },
	{ "no status", OUTCOME_UNTOLD, OUT, 0, .buffers = { HEADER, WRITES(512) } },
	{ "a readable status", OUTCOME_UNTOLD, OUT, 0,
		.buffers = { HEADER, WRITES(512), { AT_STATUS, 1, 0 } } },
	{ "a header alone", OUTCOME_UNTOLD, VIRTIO_BLK_T_FLUSH, 0, .buffers = { HEADER } },
	{ "a status alone", OUTCOME_IOERR, IN, 0, .buffers = { STATUS } },
	{ "buffers of no bytes", OUTCOME_OK, IN, 0,
		.buffers = { { BEYOND, 0, 0 }, HEADER, READS(512), { BEYOND, 0, W }, STATUS } },
	{ "a status of no bytes", OUTCOME_UNTOLD, OUT, 0,
		.buffers = { HEADER, WRITES(512), { AT_STATUS, 0, W } } },
	{ "nothing but a buffer of no bytes", OUTCOME_UNTOLD, IN, 0,
		.buffers = { { AT_HEADER, 0, 0 }, { BEYOND, 0, 0 } } },
	{ "a readable buffer behind a writable one", OUTCOME_STOPS, IN, 0,
		.buffers = { HEADER, READS(512), HEADER, STATUS } },
	/* Where it is. */
	{ "a header out of memory", OUTCOME_IOERR, IN, 0,
		.buffers = { { BEYOND, 16, 0 }, READS(512), STATUS } },
	{ "data out of memory", OUTCOME_IOERR, IN, 0, .buffers = { HEADER, { BEYOND, 512, W }, STATUS } },
	{ "data over the end of memory", OUTCOME_IOERR, IN, 0,
		.buffers = { HEADER, { 2 * DRIVER_REGION - 256, 512, W }, STATUS } },
	{ "data over the end of addresses", OUTCOME_IOERR, IN, 0,
		.buffers = { HEADER, { WRAPPING, 512, W }, STATUS } },
	{ "data of 4 GiB", OUTCOME_IOERR, OUT, 0, .buffers = { HEADER, WRITES(UINT32_MAX), STATUS } },
	{ "a status out of memory", OUTCOME_UNTOLD, OUT, 0,
		.buffers = { HEADER, WRITES(512), { BEYOND, 1, W } } },
	/* What it asks for. */
	{ "a sector beyond the end", OUTCOME_IOERR, IN, SECTORS, .buffers = { HEADER, READS(512), STATUS } },
	{ "the last sector and one more", OUTCOME_IOERR, OUT, SECTORS - 1,
		.buffers = { HEADER, WRITES(1024), STATUS } },
	{ "the last sector", OUTCOME_OK, OUT, SECTORS - 1, .buffers = { HEADER, WRITES(512), STATUS } },
	{ "a sector whose byte overflows", OUTCOME_IOERR, OUT, 1ull << 55,
		.buffers = { HEADER, WRITES(512), STATUS } },
	{ "a sector whose end overflows", OUTCOME_IOERR, IN, UINT64_MAX,
		.buffers = { HEADER, READS(512), STATUS } },
	{ "data off the sectors", OUTCOME_IOERR, OUT, 0, .buffers = { HEADER, WRITES(513), STATUS } },
	{ "less than a sector", OUTCOME_IOERR, IN, 0, .buffers = { HEADER, READS(1), STATUS } },
	{ "a write of nothing", OUTCOME_OK, OUT, 0, .buffers = { HEADER, STATUS } },
	{ "a SCSI command", OUTCOME_UNSUPP, 2, 0, .buffers = { HEADER, STATUS } },
	{ "a lifetime", OUTCOME_UNSUPP, 10, 0, .buffers = { HEADER, READS(40), STATUS } },
	{ "a secure erase", OUTCOME_UNSUPP, 14, 0, .buffers = { HEADER, RANGES(16), STATUS } },
	{ "a barrier", OUTCOME_UNSUPP, 0x80000000, 0, .buffers = { HEADER, STATUS } },
	{ "the last type there can be", OUTCOME_UNSUPP, UINT32_MAX, UINT64_MAX,
		.buffers = { HEADER, STATUS } },
	{ "an identity of one byte", OUTCOME_OK, VIRTIO_BLK_T_GET_ID, 0,
		.buffers = { HEADER, READS(1), STATUS } },
	{ "an identity of 4 KiB", OUTCOME_OK, VIRTIO_BLK_T_GET_ID, 0,
		.buffers = { HEADER, READS(4096), STATUS } },
	{ "an identity without room", OUTCOME_OK, VIRTIO_BLK_T_GET_ID, 0, .buffers = { HEADER, STATUS } },
	{ "a discard of no range", OUTCOME_IOERR, VIRTIO_BLK_T_DISCARD, 0, .buffers = { HEADER, STATUS } },
	{ "a discard of half a range", OUTCOME_IOERR, VIRTIO_BLK_T_DISCARD, 0,
		.buffers = { HEADER, RANGES(8), STATUS } },
	{ "a discard of too many ranges", OUTCOME_IOERR, VIRTIO_BLK_T_DISCARD, 0,
		.buffers = { HEADER, RANGES(16 * (VIRTIO_BLK_RANGES_MAX + 1)), STATUS } },
	{ "a discard of two ranges", OUTCOME_OK, VIRTIO_BLK_T_DISCARD, 0,
		.buffers = { HEADER, RANGES(32), STATUS }, .ranges = { { 0, 1, 0 }, { 8, 8, 0 } } },
	{ "a discard that unmaps", OUTCOME_UNSUPP, VIRTIO_BLK_T_DISCARD, 0,
		.buffers = { HEADER, RANGES(32), STATUS },
		.ranges = { { 0, 1, 0 }, { 8, 8, VIRTIO_BLK_RANGE_UNMAP } } },
	{ "a discard beyond the end, and one that unmaps", OUTCOME_UNSUPP, VIRTIO_BLK_T_DISCARD, 0,
		.buffers = { HEADER, RANGES(32), STATUS },
		.ranges = { { SECTORS, 1, 0 }, { 8, 8, VIRTIO_BLK_RANGE_UNMAP } } },
	{ "zeroes that unmap", OUTCOME_OK, VIRTIO_BLK_T_WRITE_ZEROES, 0,
		.buffers = { HEADER, RANGES(32), STATUS },
		.ranges = { { 0, 1, 0 }, { 8, 8, VIRTIO_BLK_RANGE_UNMAP } } },
	{ "zeroes with reserved flags", OUTCOME_UNSUPP, VIRTIO_BLK_T_WRITE_ZEROES, 0,
		.buffers = { HEADER, RANGES(16), STATUS }, .ranges = { { 0, 1, 1u << 31 } } },
	{ "zeroes beyond the end", OUTCOME_IOERR, VIRTIO_BLK_T_WRITE_ZEROES, 0,
		.buffers = { HEADER, RANGES(32), STATUS }, .ranges = { { 0, 1, 0 }, { SECTORS - 1, 2, 0 } } },
	{ "a discard whose end overflows", OUTCOME_IOERR, VIRTIO_BLK_T_DISCARD, 0,
		.buffers = { HEADER, RANGES(16), STATUS }, .ranges = { { UINT64_MAX, UINT32_MAX, 0 } } },
	/* Indirect tables. */
	{ "a table", OUTCOME_OK, IN, 0, .buffers = { TABLE(48, 0) },
		.table = { HEADER, READS(512), STATUS } },
	{ "a table marked writable", OUTCOME_OK, IN, 0, .buffers = { TABLE(48, W) },
		.table = { HEADER, READS(512), STATUS } },
	{ "a table of nothing", OUTCOME_STOPS, IN, 0, .buffers = { TABLE(0, 0) },
		.table = { HEADER, STATUS } },
	{ "a table of one and a half", OUTCOME_STOPS, IN, 0, .buffers = { TABLE(24, 0) },
		.table = { HEADER, STATUS } },
	{ "a table of 4 GiB", OUTCOME_STOPS, IN, 0, .buffers = { TABLE(0xfffffff0, 0) },
		.table = { HEADER, STATUS }, .packed_only = true },
	{ "a table out of memory", OUTCOME_STOPS, IN, 0, .buffers = { { BEYOND, 48, DESC_INDIRECT } } },
	{ "a table over the end of addresses", OUTCOME_STOPS, IN, 0,
		.buffers = { { WRAPPING, 48 * 16, DESC_INDIRECT } } },
	{ "a table in a table", OUTCOME_STOPS, IN, 0, .buffers = { TABLE(32, 0) },
		.table = { HEADER, TABLE(32, 0) }, .split_only = true },
	/* Spec: in a packed ring's table only the writable flag means something. */
	{ "a table in a table, to be ignored", OUTCOME_UNTOLD, IN, 0, .buffers = { TABLE(32, 0) },
		.table = { HEADER, TABLE(32, 0) }, .packed_only = true },
	{ "a table behind a buffer", OUTCOME_OK, IN, 0, .buffers = { HEADER, TABLE(32, 0) },
		.table = { READS(512), STATUS }, .split_only = true },
	{ "a table in a packed chain", OUTCOME_STOPS, IN, 0, .buffers = { HEADER, TABLE(32, 0) },
		.table = { READS(512), STATUS }, .packed_only = true },
	{ "a table before a buffer", OUTCOME_STOPS, IN, 0, .buffers = { TABLE(32, 0), STATUS },
		.table = { HEADER, READS(512) } },
	{ "a table whose chain leaves it", OUTCOME_STOPS, IN, 0, .buffers = { TABLE(16, 0) },
		.table = { HEADER, STATUS }, .split_only = true },
};

static struct vmm vmm;
static struct packed_driver packed[VMM_QUEUES];
static bool is_packed;

static unsigned count_of(const struct buffer *buffers)
{
	unsigned count = 0;

	while (count < BUFFERS_MAX && (buffers[count].at || buffers[count].length))
		count++;
	return count;
}

static uint64_t place_of(unsigned q, uint64_t at)
{
	return at + q * (1ull << 30);
}

static void describe_ring(unsigned q)
{
	vmm_describe_ring(&vmm, q, is_packed ? PACKED_START : 0);
	assert_int_equal(vmm_set_state(&vmm, VHOST_USER_SET_VRING_ENABLE, q, 1), 0);
	packed_init(&packed[q], &vmm.driver[q], PACKED_START);
}

static void begin(void)
{
	vmm_begin(&vmm);
	vmm.protocol = VHOST_USER_PROTOCOL_F_STATUS;
	vmm_connect(&vmm);
	vmm_negotiate(&vmm, VMM_FEATURES | VIRTIO_BLK_F_DISCARD | VIRTIO_BLK_F_WRITE_ZEROES |
				    (is_packed ? VIRTIO_F_RING_PACKED : 0));
	assert_int_equal(vmm_set_memory(&vmm), 0);
	for (unsigned q = 0; q < VMM_QUEUES; q++)
		describe_ring(q);
}

static void put_request(unsigned q, const struct hostile *hostile)
{
	struct virtio_blk_header header = { hostile->type, 0, hostile->sector };

	memcpy(vmm.driver[q].bytes + AT_HEADER, &header, sizeof(header));
	memcpy(vmm.driver[q].bytes + AT_HEADER + 16, hostile->ranges, sizeof(hostile->ranges));
	vmm.driver[q].bytes[AT_STATUS] = OUTCOME_UNTOLD;
}

static void put_table(unsigned q, const struct hostile *hostile)
{
	unsigned count = count_of(hostile->table);

	for (unsigned i = 0; i < count; i++) {
		const struct buffer *buffer = &hostile->table[i];
		uint64_t at = place_of(q, buffer->at);

		if (is_packed)
			((struct packed_desc *)driver_table(&vmm.driver[q]))[i] =
				(struct packed_desc){ DRIVER_GUEST + at, buffer->length, 0,
					(uint16_t)buffer->flags };
		else
			driver_describe(&driver_table(&vmm.driver[q])[i], at, buffer->length,
				buffer->flags | (i + 1 < count ? DESC_NEXT : 0), i + 1);
	}
}

static void offer_split(unsigned q, const struct buffer *buffers, unsigned count)
{
	for (unsigned i = 0; i < count; i++)
		driver_describe(&vmm.driver[q].desc[i], place_of(q, buffers[i].at), buffers[i].length,
			buffers[i].flags | (i + 1 < count ? DESC_NEXT : 0), i + 1);
	driver_offer(&vmm.driver[q], 0);
}

static void offer_packed(unsigned q, const struct buffer *buffers, unsigned count)
{
	uint16_t first = packed[q].next_avail;

	for (unsigned i = 0; i < count; i++)
		packed_describe(&packed[q], place_of(q, buffers[i].at), buffers[i].length,
			buffers[i].flags | (i + 1 < count ? DESC_NEXT : 0), 0);
	packed_offer(&packed[q], first);
}

/* Returns whether it was given back. */
static bool offer(unsigned q, const struct hostile *hostile)
{
	unsigned count = count_of(hostile->buffers);
	uint16_t used = *driver_used_idx(&vmm.driver[q]);

	put_request(q, hostile);
	put_table(q, hostile);
	if (is_packed)
		offer_packed(q, hostile->buffers, count);
	else
		offer_split(q, hostile->buffers, count);
	guest_kick(&vmm, q);
	pump(&vmm);
	if (is_packed)
		return packed_used(&packed[q], (uint16_t)count) != NULL;
	return *driver_used_idx(&vmm.driver[q]) == (uint16_t)(used + 1);
}

static void assert_serves(unsigned q)
{
	assert_true(offer(q, &hostiles[0]));
	assert_int_equal(vmm.driver[q].bytes[AT_STATUS], OUTCOME_OK);
}

/* It has stopped, alone; the VMM knows; and a reset makes it good. */
static void assert_stopped(void)
{
	assert_int_equal(signals(vmm.err[0]), 1);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), VIRTIO_STATUS_NEEDS_RESET);
	assert_int_equal(vmm.driver[0].bytes[AT_STATUS], OUTCOME_UNTOLD);
	assert_serves(1);
	assert_int_equal(vmm_set_u64(&vmm, VHOST_USER_SET_STATUS, 0), 0);
	assert_int_equal(vmm_get(&vmm, VHOST_USER_GET_STATUS), 0);
}

static void try_each(void)
{
	for (unsigned i = 0; i < sizeof(hostiles) / sizeof(hostiles[0]); i++) {
		const struct hostile *hostile = &hostiles[i];

		if (is_packed ? hostile->split_only : hostile->packed_only)
			continue;
		print_message("# %s\n", hostile->name);
		begin();
		assert_serves(0);
		assert_int_equal(offer(0, hostile), hostile->outcome != OUTCOME_STOPS);
		if (hostile->outcome == OUTCOME_STOPS) {
			assert_stopped();
		} else {
			assert_int_equal(vmm.driver[0].bytes[AT_STATUS], hostile->outcome);
			assert_int_equal(signals(vmm.err[0]), 0);
			assert_serves(0);
		}
		vmm_end(&vmm);
	}
}

static void through_split_rings(void **state)
{
	(void)state;
	is_packed = false;
	try_each();
}

static void through_packed_rings(void **state)
{
	(void)state;
	is_packed = true;
	try_each();
}

/* What is wrong with the ring itself. */
static void jump(void)
{
	vmm.driver[0].avail[1] = (uint16_t)(vmm.driver[0].avail[1] + VMM_RING + 1);
}

static void go_back(void)
{
	vmm.driver[0].avail[1] = (uint16_t)(vmm.driver[0].avail[1] - 1);
}

static void name_no_descriptor(void)
{
	driver_offer(&vmm.driver[0], VMM_RING);
}

static void make_a_loop(void)
{
	driver_describe(&vmm.driver[0].desc[0], AT_HEADER, 16, DESC_NEXT, 1);
	driver_describe(&vmm.driver[0].desc[1], AT_HEADER, 16, DESC_NEXT, 0);
	driver_offer(&vmm.driver[0], 0);
}

static void make_a_loop_of_nothing(void)
{
	driver_describe(&vmm.driver[0].desc[0], AT_HEADER, 0, DESC_NEXT, 0);
	driver_offer(&vmm.driver[0], 0);
}

static void link_out_of_the_table(void)
{
	driver_describe(&vmm.driver[0].desc[0], AT_HEADER, 16, DESC_NEXT, UINT16_MAX);
	driver_offer(&vmm.driver[0], 0);
}

static void name_a_big_id(void)
{
	packed_offer_one(&packed[0], VMM_RING);
}

/* Available all round, and no end. */
static void fill_the_ring(void)
{
	uint16_t first = packed[0].next_avail;

	for (unsigned i = 0; i < VMM_RING; i++)
		packed_describe(&packed[0], AT_HEADER, 16, DESC_NEXT, 0);
	packed_offer(&packed[0], first);
}

/* All of the ring with the other wrap counter's flags, as if the driver were a lap ahead: the ends are found where chains
 * without an end begin. */
static void turn_the_wrap_counter(void)
{
	packed[0].avail_wrap = !packed[0].avail_wrap;
	for (unsigned i = 0; i < VMM_RING; i++)
		packed_describe(&packed[0], AT_HEADER, 16, DESC_NEXT, 0);
	for (unsigned i = 0; i < VMM_RING; i++)
		packed[0].desc[i].flags = DESC_NEXT | PACKED_AVAIL;
}

static void rings_that_break_their_rules_stop(void **state)
{
	static const struct {
		const char *name;
		void (*spoil)(void);
		bool is_packed;
	} cases[] = {
		{ "an index that jumps", jump, false },
		{ "an index that goes back", go_back, false },
		{ "a head out of the table", name_no_descriptor, false },
		{ "a loop", make_a_loop, false },
		{ "a loop of nothing", make_a_loop_of_nothing, false },
		{ "a link out of the table", link_out_of_the_table, false },
		{ "an id that is too big", name_a_big_id, true },
		{ "a chain longer than the ring", fill_the_ring, true },
		{ "the other wrap counter", turn_the_wrap_counter, true },
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		print_message("# %s\n", cases[i].name);
		is_packed = cases[i].is_packed;
		begin();
		assert_serves(0);
		vmm.driver[0].bytes[AT_STATUS] = OUTCOME_UNTOLD;
		cases[i].spoil();
		guest_kick(&vmm, 0);
		pump(&vmm);
		assert_stopped();
		vmm_end(&vmm);
	}
}

/* Parts of a ring that are nowhere, leave memory or go round: known when it starts. */
static void rings_out_of_memory_stop(void **state)
{
	static const struct {
		uint64_t desc, avail, used; /* added to what is right */
	} cases[] = {
		{ .used = 1ull << 50 },
		{ .used = DRIVER_REGION - AT_USED },
		{ .desc = -DRIVER_USER - 256 },
		{ .avail = -DRIVER_USER - AT_AVAIL - 8 },
		{ .desc = 8 },
		{ .avail = 1 },
	};

	(void)state;
	for (unsigned i = 0; i < 2 * sizeof(cases) / sizeof(cases[0]); i++) {
		struct vhost_user_vring_addr addr = {
			.desc = DRIVER_USER + AT_DESC + cases[i / 2].desc,
			.used = DRIVER_USER + AT_USED + cases[i / 2].used,
			.avail = DRIVER_USER + AT_AVAIL + cases[i / 2].avail,
		};

		is_packed = i % 2;
		begin();
		assert_int_equal(vmm_set(&vmm, VHOST_USER_SET_VRING_ADDR, &addr, sizeof(addr), NULL, 0), 0);
		assert_int_equal(signals(vmm.err[0]), 0);
		assert_false(offer(0, &hostiles[0]));
		assert_stopped();
		vmm_end(&vmm);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(through_split_rings),
		cmocka_unit_test(through_packed_rings),
		cmocka_unit_test(rings_that_break_their_rules_stop),
		cmocka_unit_test(rings_out_of_memory_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
