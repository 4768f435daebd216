/* cache/file.h -- the inside of a file's disk, for disk_file.c, file_data.c and file_space.c alone. */
#pragma once

#include <stdatomic.h>

#include "cache/disk.h"
#include "cache/file_lock.h"
#include "cache/flush.h"
#include "cache/inline_read.h"
#include "cache/inline_write.h"
#include "cache/seeker.h"
#include "cache/witness.h"

/* Ways to zero bytes without writing them, cheapest first. */
enum space_way { SPACE_PUNCH, SPACE_ZERO, SPACE_WAYS };

struct file {
	struct disk disk;
	char *path;	     /* owned */
	int fd;		     /* owned: data */
	int sync_fd;	     /* owned: fdatasync, and the tail's data */
	uint64_t tail_start; /* data from here on goes through sync_fd; UINT64_MAX: none does */
	uint64_t size_opened;
	uint32_t sector; /* what fallocate(2) must be a multiple of */
	uint32_t memory_grid, space_grid;
	bool is_device, direct;
	bool tells; /* clients do not decide how often it is opened: what it did is worth a line of the log */
	struct file_lock lock;
	struct flush flush;
	struct witness witness; /* for writes with RWF_DSYNC into the page cache */
	struct inline_gate gate;
	struct inline_reads reads;
	struct seeker seeker;
	atomic_uint fua_writes;	       /* shared: FUA writes in flight */
	atomic_bool lacks[SPACE_WAYS]; /* shared: the kernel has refused that way once */
};

struct file *file_of(struct disk *disk);

/* Carry out a request; as disk_submit(). */
int file_read(struct file *file, struct block_req *req);
int file_write(struct file *file, struct block_req *req);
int file_trim(struct file *file, struct block_req *req);
int file_zero(struct file *file, struct block_req *req);
int file_cache(struct file *file, struct block_req *req);
