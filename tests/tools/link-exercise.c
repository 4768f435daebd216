/* tests/tools/link-exercise.c -- random, verified block requests through NBD links, whatever happens to the server.
 *
 * Every 4 KiB block has a generation; its content follows from number, generation and seed. Requests never overlap in
 * flight, so each read has one right answer. At the end every block is read again. Prints "after N requests" as it
 * goes, for a test that wants to break things in the middle, and one line of counts at the end.
 *
 * Exit status: 0: all was right; 1: an error or a mismatch; 2: no server, or wrong use.
 */
#include <assert.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/stripe.h"
#include "client/uri.h"
#include "conf/container.h"
#include "conf/log.h"

#define BLOCK	     4096u
#define BLOCKS_MAX   65536u /* of the export, 256 MiB; the rest is left alone */
#define DEPTH_MAX    256u
#define LENGTH_MAX   512u /* blocks of one request */
#define PIECES_MAX   64u
#define REPORT_EVERY 1000u

enum { GENERATION_UNKNOWN, GENERATION_ZERO, GENERATION_FIRST };

struct slot {
	struct block_req req;
	struct iovec iov[PIECES_MAX];
	uint8_t *memory; /* owned: twice what the longest request needs */
	uint64_t block, blocks;
	uint32_t generation;
	bool checking; /* the read of everything at the end */
};

static struct {
	uint64_t requests, errors_allowed, longest, replay_mib;
	unsigned depth, links;
	uint64_t seed;
	bool fill, keep, no_trim;
} asked = { .requests = 10000, .depth = 32, .links = 1, .seed = 1, .longest = 64 };

static struct {
	struct loop loop;
	struct disk *disk;
	struct link *links[STRIPE_LINKS_MAX];
	uint64_t blocks, random, submitted, ended, next_check;
	uint64_t ops[BLOCK_OPS], scattered, verified, errors, mismatches;
	uint32_t generation;
	unsigned in_flight;
	uint32_t *generations; /* owned: of each block */
	bool *busy;	       /* owned: of each block */
	struct slot slots[DEPTH_MAX];
	struct loop_turn starter;
	bool failed_to_start;
} run;

static uint64_t random_number(uint64_t below)
{
	run.random ^= run.random << 13;
	run.random ^= run.random >> 7;
	run.random ^= run.random << 17;
	return run.random % below;
}

static void fill_block(uint8_t *out, uint64_t block, uint32_t generation)
{
	uint64_t word = (block + 1) * 0x9e3779b97f4a7c15u ^ (uint64_t)generation << 32 ^ asked.seed;

	if (generation == GENERATION_ZERO) {
		memset(out, 0, BLOCK);
		return;
	}
	for (unsigned i = 0; i < BLOCK; i += sizeof(word)) {
		word = word * 6364136223846793005u + 1442695040888963407u;
		memcpy(out + i, &word, sizeof(word));
	}
}

static void lay_flat(struct slot *slot)
{
	slot->iov[0] = (struct iovec){ slot->memory, slot->blocks * BLOCK };
	slot->req.iov_count = 1;
}

/* Up to PIECES_MAX pieces of whole 512 byte sectors with gaps between them. */
static void lay_scattered(struct slot *slot)
{
	size_t sectors = slot->blocks * BLOCK / 512;
	uint8_t *at = slot->memory;
	unsigned count = 0;

	while (sectors) {
		size_t piece = count + 1 == PIECES_MAX ? sectors : 1 + random_number(sectors);

		slot->iov[count++] = (struct iovec){ at, piece * 512 };
		at += piece * 512 + 16 * (1 + random_number(15));
		sectors -= piece;
	}
	slot->req.iov_count = count;
	run.scattered += count > 1;
}

/* Between the pieces of a slot and one flat copy of its data. */
static void copy_slot(struct slot *slot, uint8_t *flat, bool out)
{
	for (unsigned i = 0; i < slot->req.iov_count; flat += slot->iov[i++].iov_len) {
		if (out)
			memcpy(slot->iov[i].iov_base, flat, slot->iov[i].iov_len);
		else
			memcpy(flat, slot->iov[i].iov_base, slot->iov[i].iov_len);
	}
}

static void put_data(struct slot *slot)
{
	static uint8_t flat[LENGTH_MAX * BLOCK];

	for (uint64_t i = 0; i < slot->blocks; i++)
		fill_block(flat + i * BLOCK, slot->block + i, slot->generation);
	copy_slot(slot, flat, true);
}

static void check_data(struct slot *slot)
{
	static uint8_t flat[LENGTH_MAX * BLOCK], right[BLOCK];

	copy_slot(slot, flat, false);
	for (uint64_t i = 0; i < slot->blocks; i++) {
		uint32_t generation = run.generations[slot->block + i];

		if (generation == GENERATION_UNKNOWN)
			continue;
		fill_block(right, slot->block + i, generation);
		run.verified++;
		if (memcmp(right, flat + i * BLOCK, BLOCK) == 0)
			continue;
		if (run.mismatches++ < 5)
			printf("MISMATCH block %" PRIu64 " generation %" PRIu32 "\n", slot->block + i,
				generation);
	}
}

static bool is_free(uint64_t block, uint64_t blocks)
{
	return !memchr(run.busy + block, true, blocks);
}

static void set_busy(const struct slot *slot, bool busy)
{
	memset(run.busy + slot->block, busy, slot->blocks);
}

static void set_generations(const struct slot *slot, uint32_t generation)
{
	for (uint64_t i = 0; i < slot->blocks; i++)
		run.generations[slot->block + i] = generation;
}

static void note_success(struct slot *slot)
{
	switch (slot->req.op) {
	case BLOCK_READ:
		check_data(slot);
		break;
	case BLOCK_WRITE:
		set_generations(slot, slot->generation);
		break;
	case BLOCK_ZERO:
		set_generations(slot, GENERATION_ZERO);
		break;
	case BLOCK_TRIM:
		set_generations(slot, GENERATION_UNKNOWN);
		break;
	default:
		break;
	}
}

static void note_error(struct slot *slot, int status)
{
	if (run.errors++ < 5)
		printf("ERROR op %d block %" PRIu64 ": %s\n", slot->req.op, slot->block, strerror(-status));
	if (slot->req.op != BLOCK_READ && slot->req.op != BLOCK_FLUSH)
		set_generations(slot, GENERATION_UNKNOWN);
}

static void on_done(struct block_req *req, int status)
{
	struct slot *slot = container_of(req, struct slot, req);

	if (status)
		note_error(slot, status);
	else
		note_success(slot);
	set_busy(slot, false);
	req->op = BLOCK_OPS;
	run.in_flight--;
	if (++run.ended % REPORT_EVERY == 0) {
		printf("after %" PRIu64 " requests\n", run.ended);
		fflush(stdout);
	}
}

static enum block_op pick_op(void)
{
	static const enum block_op mix[] = { BLOCK_READ, BLOCK_READ, BLOCK_READ, BLOCK_READ, BLOCK_WRITE,
		BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE, BLOCK_WRITE, BLOCK_FLUSH, BLOCK_TRIM, BLOCK_ZERO,
		BLOCK_CACHE };
	const struct disk_facts *facts = &run.disk->facts;
	enum block_op op = mix[random_number(sizeof(mix) / sizeof(mix[0]))];

	if ((op == BLOCK_FLUSH && !facts->can_flush) ||
		(op == BLOCK_TRIM && (!facts->can_trim || asked.no_trim)) ||
		(op == BLOCK_ZERO && (!facts->can_zero || asked.no_trim)) ||
		(op == BLOCK_CACHE && !facts->can_cache))
		return BLOCK_READ;
	return facts->readonly && op != BLOCK_CACHE && op != BLOCK_FLUSH ? BLOCK_READ : op;
}

static unsigned pick_flags(enum block_op op)
{
	unsigned flags = 0;

	if ((op == BLOCK_WRITE || op == BLOCK_TRIM || op == BLOCK_ZERO) && run.disk->facts.can_fua &&
		random_number(5) == 0)
		flags |= BLOCK_FUA;
	if (op == BLOCK_ZERO && random_number(2))
		flags |= BLOCK_NO_HOLE;
	return flags;
}

/* A range that no other request touches. Returns false where none was found. */
static bool pick_range(struct slot *slot)
{
	uint64_t longest = asked.longest < run.blocks ? asked.longest : run.blocks;

	for (unsigned tries = 0; tries < 100; tries++) {
		slot->blocks = random_number(4) ? 1 + random_number(8) : 1 + random_number(longest);
		if (slot->blocks > longest)
			slot->blocks = longest;
		slot->block = random_number(run.blocks - slot->blocks + 1);
		if (is_free(slot->block, slot->blocks))
			return true;
	}
	return false;
}

static void submit(struct slot *slot, enum block_op op)
{
	int status;

	slot->req.op = op;
	slot->req.flags = pick_flags(op);
	slot->req.offset = slot->block * BLOCK;
	slot->req.length = slot->blocks * BLOCK;
	slot->req.iov = NULL;
	slot->req.iov_count = 0;
	slot->req.done = on_done;
	if (op == BLOCK_READ || op == BLOCK_WRITE) {
		slot->req.iov = slot->iov;
		if (random_number(2))
			lay_flat(slot);
		else
			lay_scattered(slot);
		memset(slot->memory, 0xa5, slot->blocks * BLOCK);
	}
	if (op == BLOCK_WRITE) {
		slot->generation = GENERATION_FIRST + run.generation++;
		put_data(slot);
	}
	set_busy(slot, true);
	run.ops[op]++;
	run.in_flight++;
	status = disk_check(&run.disk->facts, &slot->req);
	assert(status == 0);
	disk_finish(&slot->req, disk_submit(run.disk, &slot->req));
}

static bool start_random(struct slot *slot)
{
	enum block_op op = pick_op();

	if (op == BLOCK_FLUSH)
		slot->block = slot->blocks = 0;
	else if (!pick_range(slot))
		return false;
	run.submitted++;
	submit(slot, op);
	return true;
}

/* The sweep over everything: writes before the random part, reads after it. */
static bool start_sweep(struct slot *slot, enum block_op op)
{
	slot->block = run.next_check;
	slot->blocks = run.blocks - slot->block < asked.longest ? run.blocks - slot->block : asked.longest;
	if (!slot->blocks)
		return false;
	run.next_check += slot->blocks;
	submit(slot, op);
	return true;
}

static bool start_one(struct slot *slot)
{
	if (asked.fill) {
		if (start_sweep(slot, BLOCK_WRITE))
			return true;
		if (run.in_flight)
			return false;
		asked.fill = false;
		run.next_check = 0;
	}
	if (run.submitted < asked.requests)
		return start_random(slot);
	if (run.next_check == 0 && run.in_flight)
		return false;
	return start_sweep(slot, BLOCK_READ);
}

static void on_turn(struct loop_turn *turn)
{
	(void)turn;
	for (unsigned i = 0; i < asked.depth; i++) {
		struct slot *slot = &run.slots[i];

		if (slot->req.op == BLOCK_OPS && !start_one(slot))
			break;
	}
	if (!run.in_flight)
		loop_stop(&run.loop);
}

static void prepare_run(void)
{
	run.blocks = run.disk->facts.size / BLOCK;
	if (run.blocks > BLOCKS_MAX)
		run.blocks = BLOCKS_MAX;
	run.generations = calloc(run.blocks, sizeof(*run.generations));
	run.busy = calloc(run.blocks, sizeof(*run.busy));
	run.random = asked.seed * 2654435761u + 1;
	for (unsigned i = 0; i < asked.depth; i++) {
		run.slots[i].memory = malloc(asked.longest * BLOCK + PIECES_MAX * 256);
		run.slots[i].req.op = BLOCK_OPS;
	}
	run.starter.run = on_turn;
	loop_add_turn(&run.loop, &run.starter, true);
}

static void finish_run(void)
{
	loop_remove_turn(&run.loop, &run.starter);
	for (unsigned i = 0; i < asked.depth; i++)
		free(run.slots[i].memory);
	free(run.generations);
	free(run.busy);
}

static void on_dialled(struct link_watch *watch, struct link *link, const char *why)
{
	(void)watch;
	(void)link;
	if (why) {
		log_error("%s", why);
		run.failed_to_start = true;
	}
	loop_stop(&run.loop);
}

static int connect_links(const char *uri)
{
	static struct link_watch watch = { on_dialled };
	static char name[URI_SHOWN_SIZE];
	struct link_config config = {
		.loop = &run.loop,
		.uri = uri,
		.name = uri_shown(uri, name),
		.watch = &watch,
		.replay_bytes = asked.replay_mib << 20,
	};
	char text[512];

	if (link_new(&config, &run.links[0]))
		return -1;
	loop_run(&run.loop);
	if (run.failed_to_start)
		return -1;
	log_info("%s: %s", name, offer_text(link_offer(run.links[0]), text, sizeof(text)));
	config.promised = &link_disk(run.links[0])->facts;
	config.watch = NULL;
	for (unsigned i = 1; i < asked.links; i++)
		if (link_new(&config, &run.links[i]))
			return -1;
	return stripe_new(run.links, asked.links, config.promised, &run.disk);
}

static void parse(int argc, char **argv)
{
	static const struct option options[] = { { "requests", 1, NULL, 'r' }, { "depth", 1, NULL, 'd' },
		{ "connections", 1, NULL, 'c' }, { "seed", 1, NULL, 's' }, { "longest", 1, NULL, 'l' },
		{ "fill", 0, NULL, 'f' }, { "errors-allowed", 1, NULL, 'e' }, { "no-trim", 0, NULL, 't' },
		{ "replay", 1, NULL, 'p' }, { "verbose", 0, NULL, 'v' }, { 0 } };
	int option;

	log_open("link-exercise", LOG_INFO);
	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
		uint64_t number = optarg ? strtoull(optarg, NULL, 10) : 0;

		switch (option) {
		case 'r':
			asked.requests = number;
			break;
		case 'd':
			asked.depth = number < DEPTH_MAX ? (unsigned)number : DEPTH_MAX;
			break;
		case 'c':
			asked.links = number < STRIPE_LINKS_MAX ? (unsigned)number : STRIPE_LINKS_MAX;
			break;
		case 's':
			asked.seed = number;
			break;
		case 'l':
			asked.longest = number < LENGTH_MAX ? number : LENGTH_MAX;
			break;
		case 'f':
			asked.fill = true;
			break;
		case 'e':
			asked.errors_allowed = number;
			break;
		case 't':
			asked.no_trim = true;
			break;
		case 'p':
			asked.replay_mib = number;
			break;
		case 'v':
			log_open("link-exercise", LOG_DEBUG);
			break;
		default:
			exit(2);
		}
	}
	if (optind + 1 != argc || !asked.depth || !asked.links || !asked.longest) {
		fprintf(stderr,
			"usage: link-exercise [--requests=N] [--depth=N] [--connections=N] [--seed=N]\n"
			"\t[--longest=BLOCKS] [--fill] [--no-trim] [--errors-allowed=N] [--replay=MIB] "
			"[--verbose] "
			"NBD-URI\n");
		exit(2);
	}
}

int main(int argc, char **argv)
{
	parse(argc, argv);
	if (loop_init(&run.loop, true) || connect_links(argv[optind]))
		return 2;
	prepare_run();
	loop_run_quickly(&run.loop);
	finish_run();
	disk_free(run.disk);
	loop_fini(&run.loop);
	printf("reads %" PRIu64 ", writes %" PRIu64 ", flushes %" PRIu64 ", trims %" PRIu64
	       ", zeroes %" PRIu64 ", scattered %" PRIu64 "; blocks verified %" PRIu64 "; errors %" PRIu64
	       ", mismatches %" PRIu64 "\n",
		run.ops[BLOCK_READ], run.ops[BLOCK_WRITE], run.ops[BLOCK_FLUSH], run.ops[BLOCK_TRIM],
		run.ops[BLOCK_ZERO], run.scattered, run.verified, run.errors, run.mismatches);
	return run.errors > asked.errors_allowed || run.mismatches ? 1 : 0;
}
