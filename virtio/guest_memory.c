/* virtio/guest_memory.c -- regions sorted by guest address above counted mappings.
 *
 * M1  Regions do not overlap, neither in guest nor in user addresses, and no region's end overflows.
 * M2  A region's bytes were all within its file when it was mapped, or its source says so.
 * M3  A snapshot that has grown is not freed before the one it belongs to: somebody may be reading it.
 */
#include "virtio/guest_memory.h"

#include <assert.h>
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "virtio/foreign_memory.h"

struct mapping {
	atomic_uint refs; /* shared: one a snapshot */
	void *base;
	size_t length;
};

struct mapped_region {
	struct guest_region is;
	char *host; /* of its first byte */
	struct mapping *mapping;
};

/* What a snapshot with a source knows. */
struct growth {
	struct guest_memory_source *source;		  /* borrowed: see guest_memory_from() */
	pthread_mutex_t lock;				  /* whoever grows it */
	unsigned steps;					  /* under lock */
	struct guest_memory *_Atomic newest;		  /* shared: one of those below */
	struct guest_memory *step[GUEST_REGIONS_MAX + 1]; /* owned: with 0, 1, 2, ... regions; under lock */
};

struct guest_memory {
	atomic_uint refs;      /* shared: the transport, and each queue that works with it */
	struct growth *growth; /* owned; NULL: the regions below are all there are */
	unsigned count;
	struct mapped_region regions[]; /* sorted by guest address */
};

static void mapping_put(struct mapping *mapping)
{
	if (atomic_fetch_sub(&mapping->refs, 1) != 1)
		return;
	foreign_memory_unmap(mapping->base);
	free(mapping);
}

static bool overlap(uint64_t a, uint64_t b, uint64_t a_size, uint64_t b_size)
{
	return a < b + b_size && b < a + a_size;
}

static const char *region_fault(const struct guest_region *region)
{
	if (region->size == 0)
		return "a region of no bytes";
	if (region->guest_address + region->size < region->size)
		return "a region past the end of guest addresses";
	if (region->user_address + region->size < region->size)
		return "a region past the end of user addresses";
	if (region->mmap_offset > INT64_MAX || region->size > INT64_MAX - region->mmap_offset)
		return "a region past the end of any file";
	return NULL;
}

/* What mmap() wants an offset to be a multiple of: of hugetlbfs it is the huge page, which is also its st_blksize. */
static uint64_t mapping_grain(const struct stat *file)
{
	uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);
	uint64_t block = (uint64_t)file->st_blksize;

	return block > page && !(block & (block - 1)) ? block : page;
}

static const char *file_fault(const struct guest_region *is, const struct stat *file)
{
	if (!S_ISREG(file->st_mode))
		return "a region's file is neither a memfd nor a file on tmpfs, hugetlbfs or a disk";
	if ((uint64_t)file->st_size < is->mmap_offset + is->size)
		return "a region is longer than its file";
	return NULL;
}

static int region_map(struct mapped_region *region, int fd, bool trusted, const char **why)
{
	const struct guest_region *is = &region->is;
	uint64_t grain, before, length;
	struct mapping *mapping;
	struct stat file;

	*why = "fstat";
	if (fstat(fd, &file) < 0)
		return -errno;
	*why = trusted ? NULL : file_fault(is, &file);
	if (*why)
		return -EINVAL;
	grain = mapping_grain(&file);
	before = is->mmap_offset & (grain - 1);
	length = (before + is->size + grain - 1) & ~(grain - 1);
	*why = "out of memory";
	mapping = malloc(sizeof(*mapping));
	if (!mapping)
		return -ENOMEM;
	*why = "mmap";
	mapping->length = length;
	mapping->base = foreign_memory_map(fd, (off_t)(is->mmap_offset - before), length, grain);
	if (!mapping->base) {
		int error = errno;

		free(mapping);
		return -error;
	}
	/* A core dump is for our state, not for a guest's gigabytes and secrets. */
	madvise(mapping->base, length, MADV_DONTDUMP);
	atomic_init(&mapping->refs, 1);
	region->mapping = mapping;
	region->host = (char *)mapping->base + before;
	return 0;
}

static struct guest_memory *memory_alloc(unsigned room)
{
	struct guest_memory *memory = calloc(1, sizeof(*memory) + (size_t)room * sizeof(memory->regions[0]));

	if (memory)
		atomic_init(&memory->refs, 1);
	return memory;
}

/* The place of a region among the others, or -1 where it overlaps one of them. */
static int region_place(const struct guest_memory *memory, const struct guest_region *new)
{
	int place = 0;

	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *old = &memory->regions[i].is;

		if (overlap(old->guest_address, new->guest_address, old->size, new->size) ||
			overlap(old->user_address, new->user_address, old->size, new->size))
			return -1;
		place += old->guest_address < new->guest_address;
	}
	return place;
}

/* There is room for it. */
static int memory_add(struct guest_memory *memory, const struct guest_region *region, int fd, bool trusted,
	const char **why)
{
	struct mapped_region new = { .is = *region };
	int place, error;

	*why = region_fault(region);
	if (*why)
		return -EINVAL;
	*why = "regions overlap";
	place = region_place(memory, region);
	if (place < 0)
		return -EINVAL;
	error = region_map(&new, fd, trusted, why);
	if (error)
		return error;
	memmove(&memory->regions[place + 1], &memory->regions[place],
		(memory->count - (unsigned)place) * sizeof(new));
	memory->regions[place] = new;
	memory->count++;
	return 0;
}

int guest_memory_new(const struct guest_region *regions, const int *fds, unsigned count,
	struct guest_memory **out, const char **why)
{
	struct guest_memory *memory;

	*why = "too many regions";
	if (count > GUEST_REGIONS_MAX)
		return -EINVAL;
	*why = "out of memory";
	memory = memory_alloc(count);
	if (!memory)
		return -ENOMEM;
	for (unsigned i = 0; i < count; i++) {
		int error = memory_add(memory, &regions[i], fds[i], false, why);

		if (error) {
			guest_memory_put(memory);
			return error;
		}
	}
	*out = memory;
	return 0;
}

/* @old's regions but for number @but, with room for one more. */
static struct guest_memory *memory_copy(const struct guest_memory *old, unsigned but)
{
	unsigned count = old ? old->count : 0;
	struct guest_memory *memory = memory_alloc(count + 1);

	if (!memory)
		return NULL;
	for (unsigned i = 0; i < count; i++) {
		if (i == but)
			continue;
		memory->regions[memory->count] = old->regions[i];
		atomic_fetch_add(&memory->regions[memory->count++].mapping->refs, 1);
	}
	return memory;
}

int guest_memory_with(const struct guest_memory *old, const struct guest_region *region, int fd,
	struct guest_memory **out, const char **why)
{
	struct guest_memory *memory;
	int error;

	*why = "too many regions";
	if (old && old->count == GUEST_REGIONS_MAX)
		return -EINVAL;
	*why = "out of memory";
	memory = memory_copy(old, GUEST_REGIONS_MAX);
	if (!memory)
		return -ENOMEM;
	error = memory_add(memory, region, fd, false, why);
	if (error)
		guest_memory_put(memory);
	else
		*out = memory;
	return error;
}

int guest_memory_without(const struct guest_memory *old, const struct guest_region *region,
	struct guest_memory **out, const char **why)
{
	for (unsigned i = 0; old && i < old->count; i++) {
		const struct guest_region *is = &old->regions[i].is;

		if (is->guest_address != region->guest_address || is->user_address != region->user_address ||
			is->size != region->size)
			continue;
		*why = "out of memory";
		*out = memory_copy(old, i);
		return *out ? 0 : -ENOMEM;
	}
	*why = "no such region";
	return -ENOENT;
}

/* -- memory with a source ------------------------------------------------------------------------------------------ */

struct guest_memory *guest_memory_from(struct guest_memory_source *source)
{
	struct guest_memory *memory = memory_alloc(0);
	struct growth *growth = calloc(1, sizeof(*growth));

	if (growth)
		growth->step[0] = memory_alloc(0);
	if (!memory || !growth || !growth->step[0]) {
		free(growth);
		free(memory);
		return NULL;
	}
	growth->source = source;
	growth->steps = 1;
	pthread_mutex_init(&growth->lock, NULL);
	atomic_init(&growth->newest, growth->step[0]);
	memory->growth = growth;
	return memory;
}

/* The step after @known, which has the region of an address; NULL: there is none. */
static struct guest_memory *next_step(
	struct guest_memory_source *source, const struct guest_memory *known, uint64_t guest_address)
{
	struct guest_memory *next;
	struct guest_region region;
	const char *why;
	int fd = source->find(source, guest_address, &region);

	if (fd < 0)
		return NULL;
	next = memory_copy(known, GUEST_REGIONS_MAX);
	if (next && memory_add(next, &region, fd, true, &why)) {
		guest_memory_put(next);
		next = NULL;
	}
	close(fd);
	return next;
}

/* Ask for the region of an address that @known does not have. Returns the snapshot to look in again, or NULL. */
static const struct guest_memory *memory_grow(
	const struct guest_memory *memory, const struct guest_memory *known, uint64_t guest_address)
{
	struct growth *growth = memory->growth;
	struct guest_memory *next;

	if (!growth)
		return NULL;
	pthread_mutex_lock(&growth->lock);
	next = atomic_load(&growth->newest);
	/* Another thread may have been quicker, maybe with the same question. */
	if (next == known)
		next = growth->steps <= GUEST_REGIONS_MAX ? next_step(growth->source, known, guest_address)
							  : NULL;
	if (next && next != growth->step[growth->steps - 1]) {
		growth->step[growth->steps++] = next;
		atomic_store(&growth->newest, next);
	}
	pthread_mutex_unlock(&growth->lock);
	return next;
}

static const struct guest_memory *memory_known(const struct guest_memory *memory)
{
	return memory->growth ? atomic_load_explicit(&memory->growth->newest, memory_order_acquire) : memory;
}

static void growth_free(struct growth *growth)
{
	while (growth->steps > 0)
		guest_memory_put(growth->step[--growth->steps]);
	pthread_mutex_destroy(&growth->lock);
	free(growth);
}

/* -- references and addresses ------------------------------------------------------------------------------------- */

struct guest_memory *guest_memory_get(struct guest_memory *memory)
{
	atomic_fetch_add(&memory->refs, 1);
	return memory;
}

void guest_memory_put(struct guest_memory *memory)
{
	if (!memory || atomic_fetch_sub(&memory->refs, 1) != 1)
		return;
	for (unsigned i = 0; i < memory->count; i++)
		mapping_put(memory->regions[i].mapping);
	if (memory->growth)
		growth_free(memory->growth);
	free(memory);
}

static void *known_at(const struct guest_memory *memory, uint64_t guest_address, uint64_t *length)
{
	unsigned low = 0, high = memory->count;

	/* low: the first region that starts above the address. */
	while (low < high) {
		unsigned middle = (low + high) / 2;

		if (memory->regions[middle].is.guest_address <= guest_address)
			low = middle + 1;
		else
			high = middle;
	}
	if (low > 0) {
		const struct mapped_region *region = &memory->regions[low - 1];
		uint64_t into = guest_address - region->is.guest_address;

		if (into < region->is.size) {
			if (*length > region->is.size - into)
				*length = region->is.size - into;
			return region->host + into;
		}
	}
	return NULL;
}

void *guest_memory_at(const struct guest_memory *memory, uint64_t guest_address, uint64_t *length)
{
	const struct guest_memory *known = memory_known(memory);
	void *at = NULL;

	while (known && !(at = known_at(known, guest_address, length)))
		known = memory_grow(memory, known, guest_address);
	return at;
}

static bool knows_user(const struct guest_memory *memory, uint64_t user_address)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *is = &memory->regions[i].is;

		if (user_address >= is->user_address && user_address - is->user_address < is->size)
			return true;
	}
	return false;
}

static void *known_at_user(const struct guest_memory *memory, uint64_t user_address, uint64_t length)
{
	for (unsigned i = 0; i < memory->count; i++) {
		const struct guest_region *is = &memory->regions[i].is;
		uint64_t into = user_address - is->user_address;

		if (user_address >= is->user_address && into < is->size)
			return length <= is->size - into ? memory->regions[i].host + into : NULL;
	}
	return NULL;
}

void *guest_memory_at_user(const struct guest_memory *memory, uint64_t user_address, uint64_t length)
{
	const struct guest_memory *known = memory_known(memory);

	while (known && !knows_user(known, user_address))
		known = memory_grow(memory, known, user_address);
	return known ? known_at_user(known, user_address, length) : NULL;
}

bool guest_memory_address_of(const struct guest_memory *memory, const void *host, uint64_t *guest_address)
{
	const struct guest_memory *known = memory_known(memory);

	for (unsigned i = 0; i < known->count; i++) {
		const struct mapped_region *region = &known->regions[i];
		uint64_t into = (uintptr_t)host - (uintptr_t)region->host;

		if ((uintptr_t)host >= (uintptr_t)region->host && into < region->is.size) {
			*guest_address = region->is.guest_address + into;
			return true;
		}
	}
	return false;
}

bool guest_memory_is_lost(const struct guest_memory *memory)
{
	const struct guest_memory *known = memory_known(memory);

	for (unsigned i = 0; i < known->count; i++) {
		if (foreign_memory_is_lost(known->regions[i].mapping->base))
			return true;
	}
	return false;
}

uint64_t guest_memory_end(const struct guest_memory *memory)
{
	const struct guest_memory *known = memory_known(memory);
	const struct mapped_region *last = &known->regions[known->count];

	return known->count ? last[-1].is.guest_address + last[-1].is.size : 0;
}

int guest_memory_read(const struct guest_memory *memory, uint64_t guest_address, void *out, uint64_t length)
{
	char *to = out;

	while (length > 0) {
		uint64_t piece = length;
		const void *from = guest_memory_at(memory, guest_address, &piece);

		if (!from)
			return -EFAULT;
		memcpy(to, from, piece);
		to += piece;
		guest_address += piece;
		length -= piece;
	}
	return 0;
}
