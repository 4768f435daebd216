/* virtio/guest_memory.h -- the guest's memory, mapped here: a counted snapshot that never changes.
 *
 * A change makes a new snapshot; requests in flight keep the one their addresses came from. Snapshots share the
 * mappings of the regions that they have in common. Only get and put may be called by several threads at a time; the
 * rest reads, and what it reads is constant.
 *
 * The files have to be as long as the regions say when they are given to us. A VMM that truncates one later finds its
 * rings broken: foreign_memory.h.
 *
 * Where nobody tells the regions beforehand, a snapshot has a source that is asked about each address that is not in a
 * region it knows. Such a snapshot grows, but what it knows stays as it is.
 *
 * Spec: vhost-user, "Memory access"; virtio, "Virtqueues".
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* As many as QEMU has slots for memory devices: each costs us one mapping. */
#define GUEST_REGIONS_MAX 256u

/* A region as a VMM describes it: foreign numbers. */
struct guest_region {
	uint64_t guest_address;
	uint64_t size;	       /* bytes */
	uint64_t user_address; /* the VMM's own: it names ring parts by these */
	uint64_t mmap_offset;  /* of the region in its file */
};

struct guest_memory;

/* guest_memory_new() - map @count regions, region i from fds[i] (borrowed), which has to be a regular file (memfd,
 * tmpfs, hugetlbfs).
 *
 * Returns 0 and a snapshot with one reference in @out, or -errno and what is wrong in @why, a constant:
 * -EINVAL: a size of 0, numbers that overflow, regions that overlap in guest or user addresses, a file too short or of
 * another kind, more than GUEST_REGIONS_MAX; -ENOMEM; -errno of mmap(2), fstat(2).
 */
int guest_memory_new(const struct guest_region *regions, const int *fds, unsigned count,
	struct guest_memory **out, const char **why);

/* guest_memory_with() - the snapshot that has one region more; @old may be NULL. Returns as guest_memory_new(). */
int guest_memory_with(const struct guest_memory *old, const struct guest_region *region, int fd,
	struct guest_memory **out, const char **why);

/* guest_memory_without() - the snapshot without the region of that guest address, user address and size (the offset
 * does not count); @old may be NULL. Returns as guest_memory_new(), -ENOENT: there is none. */
int guest_memory_without(const struct guest_memory *old, const struct guest_region *region,
	struct guest_memory **out, const char **why);

/* Who knows the regions of a memory that nobody tells beforehand. Called on any thread, by one at a time. */
struct guest_memory_source {
	/* find() - the region with a guest address. Its user addresses are its guest addresses; that its bytes are
	 * within its file, which may be of any kind, is taken for granted.
	 * Returns a descriptor, the caller's, or -errno: there is none that can be read and written. */
	int (*find)(struct guest_memory_source *source, uint64_t guest_address, struct guest_region *region);
};

/* guest_memory_from() - a snapshot that knows nothing yet. @source is borrowed until the last reference is put.
 * Returns NULL: out of memory. */
struct guest_memory *guest_memory_from(struct guest_memory_source *source);

struct guest_memory *guest_memory_get(struct guest_memory *memory);
void guest_memory_put(struct guest_memory *memory); /* NULL is fine */

/* guest_memory_at() - where a guest address is in our memory.
 * @length: wanted, at least 1; becomes how much of that lies together there: less where a region ends.
 * Returns NULL where no region has that address. */
void *guest_memory_at(const struct guest_memory *memory, uint64_t guest_address, uint64_t *length);

/* guest_memory_at_user() - where @length bytes from a user address are; NULL where not all of them lie in one region.
 */
void *guest_memory_at_user(const struct guest_memory *memory, uint64_t user_address, uint64_t length);

/* guest_memory_address_of() - the guest address of what guest_memory_at() has found, or of a byte behind it in the same
 * region. Returns false for what is not in this memory. */
bool guest_memory_address_of(const struct guest_memory *memory, const void *host, uint64_t *guest_address);

/* Whether the VMM has cut a region's file short, and we have touched what is gone (foreign_memory.h). */
bool guest_memory_is_lost(const struct guest_memory *memory);

/* Where the last region that is known ends, in guest addresses; 0: there is none. */
uint64_t guest_memory_end(const struct guest_memory *memory);

/* guest_memory_read() - copy @length bytes from a guest address, whatever regions they lie in.
 * Returns 0, or -EFAULT: not all of them are in memory. */
int guest_memory_read(const struct guest_memory *memory, uint64_t guest_address, void *out, uint64_t length);
