/* cache/overlay_map.c -- bitmaps and, for each page of them, how far its bits have got.
 *
 * M1  A bit of present is set after the block's data has been written, so a commit that sees it syncs the data with it.
 * M2  A page is DIRTY from the setting of a bit, under the lock, until a commit takes it, and COMMITTING until that ends.
 *     Neither: the file's durable map is synced and has all of its bits.
 * M3  durable has no bit but those that a commit took before it synced the data.
 */
#include "cache/overlay_map.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cache/bitmap.h"

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "words of memory are the file's bytes");

enum { DIRTY = 1, COMMITTING = 2 };
enum { PAGE_WORDS = OVERLAY_BLOCK / 8 };

/* Memory that costs nothing until it is written. */
static void *reserve(uint64_t bytes)
{
	void *memory =
		mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return memory == MAP_FAILED ? NULL : memory;
}

int overlay_map_init(struct overlay_map *map, const struct overlay_layout *layout)
{
	*map = (struct overlay_map){ .blocks = layout->blocks, .pages = layout->map_bytes / OVERLAY_BLOCK };
	pthread_mutex_init(&map->lock, NULL);
	if (map->pages == 0)
		return 0;
	map->present = reserve(layout->map_bytes);
	map->marked = reserve(layout->map_bytes);
	map->durable = reserve(layout->map_bytes);
	map->page_state = calloc(map->pages, 1);
	if (map->present && map->marked && map->durable && map->page_state)
		return 0;
	overlay_map_fini(map);
	return -ENOMEM;
}

void overlay_map_fini(struct overlay_map *map)
{
	void *const bitmaps[] = { (void *)map->present, (void *)map->marked, map->durable };

	for (int i = 0; i < 3; i++)
		if (bitmaps[i])
			munmap(bitmaps[i], map->pages * OVERLAY_BLOCK);
	free(map->page_state);
	pthread_mutex_destroy(&map->lock);
}

static void set_word(_Atomic uint64_t *word, uint64_t bits)
{
	/* Only one writes, under the lock; readers see the word as a whole. */
	atomic_store_explicit(
		word, atomic_load_explicit(word, memory_order_relaxed) | bits, memory_order_release);
}

static void make_dirty(struct overlay_map *map, uint64_t page)
{
	map->dirty += !(map->page_state[page] & DIRTY);
	map->page_state[page] |= DIRTY;
}

/* The bits of a page's word that stand for blocks. */
static uint64_t valid_bits(const struct overlay_map *map, uint64_t word)
{
	if (word * 64 >= map->blocks)
		return 0;
	return map->blocks - word * 64 >= 64 ? UINT64_MAX : (1ull << (map->blocks % 64)) - 1;
}

void overlay_map_load(
	struct overlay_map *map, uint64_t page, const uint64_t bits[OVERLAY_BLOCK / 8], bool durable)
{
	assert(page < map->pages);
	for (uint64_t i = 0; i < PAGE_WORDS; i++) {
		uint64_t word = page * PAGE_WORDS + i, set = bits[i] & valid_bits(map, word);

		if (!set)
			continue;
		set_word(&map->present[word], set);
		set_word(&map->marked[word], set);
		if (durable)
			map->durable[word] |= set;
		else if (set & ~map->durable[word])
			make_dirty(map, page);
	}
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

bool overlay_map_run(const struct overlay_map *map, uint64_t block, uint64_t limit, uint64_t *end)
{
	assert(block < limit && limit <= map->blocks);
	return bitmap_run(map->present, block, smaller(limit, block + OVERLAY_RUN_MAX), end);
}

bool overlay_map_has(const struct overlay_map *map, uint64_t block, uint64_t end)
{
	uint64_t run_end;

	return overlay_map_run(map, block, end, &run_end) && run_end == end;
}

void overlay_map_mark(struct overlay_map *map, uint64_t block, uint64_t end)
{
	assert(block < end && end <= map->blocks);
	pthread_mutex_lock(&map->lock);
	for (uint64_t at = block; at < end; at = (at / 64 + 1) * 64)
		set_word(&map->marked[at / 64], bitmap_bits(at, end));
	pthread_mutex_unlock(&map->lock);
}

void overlay_map_add(struct overlay_map *map, uint64_t block, uint64_t end)
{
	assert(block < end && end <= map->blocks);
	pthread_mutex_lock(&map->lock);
	for (uint64_t at = block; at < end; at = (at / 64 + 1) * 64) {
		uint64_t bits = bitmap_bits(at, end);

		if (!(bits & ~atomic_load_explicit(&map->present[at / 64], memory_order_relaxed)))
			continue;
		set_word(&map->present[at / 64], bits);
		make_dirty(map, at / OVERLAY_PAGE_BLOCKS);
	}
	pthread_mutex_unlock(&map->lock);
}

bool overlay_map_is_durable(struct overlay_map *map, uint64_t block, uint64_t end)
{
	bool clean = overlay_map_has(map, block, end);

	pthread_mutex_lock(&map->lock);
	for (uint64_t page = block / OVERLAY_PAGE_BLOCKS; clean && page * OVERLAY_PAGE_BLOCKS < end; page++)
		clean = !map->page_state[page];
	pthread_mutex_unlock(&map->lock);
	return clean;
}

bool overlay_map_is_clean(struct overlay_map *map)
{
	bool clean;

	pthread_mutex_lock(&map->lock);
	clean = map->dirty == 0 && map->committing == 0;
	pthread_mutex_unlock(&map->lock);
	return clean;
}

static void take_page(struct overlay_map *map, uint64_t page)
{
	for (uint64_t i = page * PAGE_WORDS; i < (page + 1) * PAGE_WORDS; i++)
		map->durable[i] = atomic_load_explicit(&map->present[i], memory_order_acquire);
	map->page_state[page] = COMMITTING;
	map->dirty--;
	map->committing++;
}

bool overlay_map_begin(struct overlay_map *map)
{
	pthread_mutex_lock(&map->lock);
	assert(map->committing == 0);
	for (uint64_t page = 0; map->dirty > 0 && page < map->pages; page++)
		if (map->page_state[page] & DIRTY)
			take_page(map, page);
	pthread_mutex_unlock(&map->lock);
	return map->committing > 0;
}

bool overlay_map_next(struct overlay_map *map, uint64_t *first, uint64_t *end, uint64_t max)
{
	uint64_t page = *first;

	pthread_mutex_lock(&map->lock);
	while (page < map->pages && !(map->page_state[page] & COMMITTING))
		page++;
	*first = page;
	while (page < map->pages && page - *first < max && map->page_state[page] & COMMITTING)
		page++;
	*end = page;
	pthread_mutex_unlock(&map->lock);
	return *first < *end;
}

void overlay_map_end(struct overlay_map *map, bool done)
{
	pthread_mutex_lock(&map->lock);
	for (uint64_t page = 0; map->committing > 0 && page < map->pages; page++) {
		if (!(map->page_state[page] & COMMITTING))
			continue;
		map->page_state[page] &= DIRTY;
		map->committing--;
		if (!done)
			make_dirty(map, page);
	}
	pthread_mutex_unlock(&map->lock);
}
