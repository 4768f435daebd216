/* A file of an exported directory that has lost writes, is closed and opened again, has the write verifier from after the loss.
 * If this fails, a client that comes back believes that what it wrote is there, and does not send it again. */
#include "tests/unit/loop_disk.h"

#include <sys/sysmacros.h>

#include "conf/log.h"
#include "server/export.h"

static struct export *open_file(struct exports *exports, const char *name)
{
	struct export *folder = exports_find(exports, name, strlen(name));
	struct export *file;

	assert_non_null(folder);
	file = export_get(folder, name, strlen(name), false);
	assert_non_null(file);
	return file;
}

static uint64_t verifier_of(struct exports *exports, const char *name)
{
	struct export *file = open_file(exports, name);
	uint64_t value = export_verifier(file);

	export_put(file);
	return value;
}

/* What does not fit the memory behind the device is lost when it is flushed. Returns the verifier then. */
static uint64_t lose(struct exports *exports, const char *name)
{
	static char data[1 << 20];
	struct export *file = open_file(exports, name);
	uint64_t value;

	memset(data, 1, sizeof(data));
	assert_int_equal(ask_data(file->disk, &ring, BLOCK_WRITE, 0, 0, data, sizeof(data)), 0);
	assert_int_equal(ask_range(file->disk, &ring, BLOCK_FLUSH, 0, 0, 0), -EIO);
	value = export_verifier(file);
	export_put(file);
	return value;
}

/* A folder of a disk that loses writes, and one that does not. */
static void open_lossy_folder(struct exports *exports)
{
	struct export_spec spec;
	struct stat device;
	char why[512], path[128];

	assert_int_equal(stat(loop_disk_make("tmpfs", "size=256k", "16M", ""), &device), 0);
	run_shell("mkdir %s/files && truncate -s 64K %s/files/spared", loop_disk.folder, loop_disk.folder);
	snprintf(path, sizeof(path), "%s/files/lossy", loop_disk.folder);
	assert_int_equal(mknod(path, S_IFBLK | 0600, device.st_rdev), 0);
	snprintf(path, sizeof(path), "%s/files", loop_disk.folder);
	exports_init(exports);
	assert_int_equal(export_spec_parse_folder(path, &spec, why, sizeof(why)), 0);
	assert_int_equal(exports_add(exports, &spec, why, sizeof(why)), 0);
}

static void when_the_file_is_opened_again(void **state)
{
	struct exports exports;
	uint64_t before, after, second, spared;

	(void)state;
	open_lossy_folder(&exports);
	before = verifier_of(&exports, "lossy");
	spared = verifier_of(&exports, "spared");
	assert_true(verifier_of(&exports, "lossy") == before);
	after = lose(&exports, "lossy");
	assert_true(after != before);
	assert_true(verifier_of(&exports, "lossy") == after);
	assert_true(verifier_of(&exports, "lossy") == after);
	assert_true(verifier_of(&exports, "spared") == spared);
	second = lose(&exports, "lossy");
	assert_true(second != after && second != before);
	assert_true(verifier_of(&exports, "lossy") == second);
	exports_fini(&exports);
	loop_disk_remove();
}

/* Whoever is told of a loss lets go of the file at once, as does a client in its handshake. */
static void on_lost(void *context, struct export *export)
{
	++*(unsigned *)context;
	export_put(export);
}

static void and_told_once_to_who_closes_the_file(void **state)
{
	struct exports exports;
	struct export *file;
	unsigned told = 0;

	(void)state;
	open_lossy_folder(&exports);
	file = open_file(&exports, "lossy");
	lose(&exports, "lossy");
	exports_measure(&exports, on_lost, &told);
	exports_measure(&exports, on_lost, &told);
	assert_int_equal(told, 1);
	export_put(file);
	exports_fini(&exports);
	loop_disk_remove();
}

/* A disk of any identity, that has lost writes or not. */
struct pretended {
	struct disk disk;
	bool lost;
};

static bool has_lost(struct disk *disk)
{
	return ((struct pretended *)disk)->lost;
}

static uint64_t life_of(uint64_t identity, bool loses)
{
	static const struct disk_ops ops = { .has_lost = has_lost };
	struct pretended pretended = { .disk = { .ops = &ops, .facts = { .identity = identity } } };
	struct verifier verifier;
	uint64_t first, value;

	verifier_init(&verifier, &pretended.disk.facts);
	first = verifier_value(&verifier, &pretended.disk);
	pretended.lost = loses;
	value = verifier_value(&verifier, &pretended.disk);
	assert_true((value != first) == loses);
	verifier_close(&verifier, &pretended.disk);
	return value;
}

static void however_many_there_are(void **state)
{
	enum { MORE = 2 * VERIFIER_LOSSES_MAX };
	static uint64_t before[MORE], after[MORE];

	(void)state;
	for (unsigned i = 0; i < MORE; i++)
		before[i] = life_of(1000 + i, false);
	for (unsigned i = 0; i < MORE; i++)
		after[i] = life_of(1000 + i, true);
	for (unsigned i = 0; i < MORE; i++) {
		assert_true(after[i] != before[i]);
		assert_true(life_of(1000 + i, false) != before[i]);
	}
	assert_true(life_of(1000, false) == after[0]);
	assert_true(life_of(999999, false) == life_of(999999, false));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(when_the_file_is_opened_again),
		cmocka_unit_test(and_told_once_to_who_closes_the_file),
		cmocka_unit_test(however_many_there_are),
	};

	log_open("test", LOG_ERROR);
	alarm(60); /* a lost completion hangs */
	return cmocka_run_group_tests(tests, ring_begin, ring_end);
}
