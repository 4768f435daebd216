/* A file that is said to be an overlay, with any header and any maps: what is taken belongs to the base, is whole, and no
 * bit leads out of it. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cache/overlay_file.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { HEAD = 16, FILE_MAX = 64 << 10 };

/* Every run is one behind the other and ends with the base. */
static void walk(const struct overlay_map *map)
{
	uint64_t at = 0, end;

	while (at < map->blocks) {
		overlay_map_run(map, at, map->blocks, &end);
		if (end <= at || end > map->blocks)
			abort();
		at = end;
	}
}

static void load(int fd, uint64_t base_size)
{
	struct overlay_layout layout;
	struct overlay_map map;

	if (overlay_layout_of(base_size, &layout) || overlay_map_init(&map, &layout))
		abort();
	if (overlay_file_load(fd, &layout, &map) == 0) {
		walk(&map);
		while (overlay_map_begin(&map)) {
			for (uint64_t first = 0, end; overlay_map_next(&map, &first, &end, 3); first = end)
				if (end > map.pages)
					abort();
			overlay_map_end(&map, true);
		}
		if (map.blocks > 0 && overlay_map_has(&map, 0, map.blocks) &&
			!overlay_map_is_durable(&map, 0, map.blocks))
			abort();
	}
	overlay_map_fini(&map);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static uint8_t file[FILE_MAX];
	struct overlay_base base = { 0 };
	char why[256];
	size_t length;
	int fd;

	if (size < HEAD)
		return 0;
	base.size = (uint64_t)data[1] << (data[2] % 16);
	base.digest = data[3];
	memset(file, 0, sizeof(file));
	length = size - HEAD < FILE_MAX ? size - HEAD : FILE_MAX;
	memcpy(file, data + HEAD, length);
	/* Mostly a header whose sum is right, with what stands behind it in the input. */
	if (data[0] % 4)
		overlay_header_write(&base, file);
	base.digest ^= data[4] & 1;
	fd = memfd_create("overlay", MFD_CLOEXEC);
	if (fd < 0 || write(fd, file, sizeof(file)) != (ssize_t)sizeof(file) ||
		ftruncate(fd, (off_t)data[5] << 16))
		abort();
	if (overlay_file_check(fd, "overlay", &base, "base", why, sizeof(why)) == 0)
		load(fd, base.size);
	close(fd);
	return 0;
}
