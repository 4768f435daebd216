/* cache/held.c -- a list by age, walked from its oldest end: the youngest bytes are laid last, and win. */
#include "cache/held.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "cache/iov.h"

/* Where data is in memory: what O_DIRECT wants of most disks, so that nothing has to be carried. */
#define DATA_GRID 512u

static uint64_t smaller(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

static uint64_t larger(uint64_t a, uint64_t b)
{
	return a > b ? a : b;
}

uint64_t held_cost_of(enum block_op op, uint64_t length)
{
	return op == BLOCK_TRIM ? HELD_COST_MIN : larger(length, HELD_COST_MIN);
}

static bool take_data(struct held *held, struct block_req *req)
{
	void *data;

	if (held->op == BLOCK_TRIM)
		return true;
	if (posix_memalign(&data, DATA_GRID, held->length))
		return false;
	held->data = data;
	if (held->op == BLOCK_WRITE)
		iov_copy_out(req, data, held->length);
	else
		memset(data, 0, held->length);
	return true;
}

struct held *held_new(struct block_req *req)
{
	struct held *held = malloc(sizeof(*held));

	if (!held)
		return NULL;
	*held = (struct held){
		.op = req->op,
		.flags = req->flags & BLOCK_NO_HOLE,
		.offset = req->offset,
		.length = req->length,
	};
	if (take_data(held, req))
		return held;
	free(held);
	return NULL;
}

void held_free(struct held *held)
{
	free(held->data);
	free(held);
}

void held_append(struct held_list *list, struct held *held)
{
	held->number = ++list->last_number;
	held->older = list->youngest;
	held->younger = NULL;
	*(list->youngest ? &list->youngest->younger : &list->oldest) = held;
	list->youngest = held;
	if (!list->staying)
		list->staying = held;
}

struct held *held_leave(struct held_list *list)
{
	struct held *held = list->staying;

	held->leaving = true;
	list->staying = held->younger;
	return held;
}

void held_remove(struct held_list *list, struct held *held)
{
	assert(held->leaving);
	*(held->older ? &held->older->younger : &list->oldest) = held->younger;
	*(held->younger ? &held->younger->older : &list->youngest) = held->older;
}

void held_clear(struct held_list *list)
{
	struct held *next;

	for (struct held *held = list->oldest; held; held = next) {
		next = held->younger;
		held_free(held);
	}
	list->oldest = list->youngest = list->staying = NULL;
}

static bool overlaps(const struct held *held, uint64_t offset, uint64_t length)
{
	return held->offset < offset + length && offset < held->offset + held->length;
}

bool held_overlaps(const struct held_list *list, uint64_t offset, uint64_t length)
{
	for (const struct held *held = list->oldest; held; held = held->younger)
		if (overlaps(held, offset, length))
			return true;
	return false;
}

/* Copies @length bytes between @bytes and what is @skip bytes into @iov. */
static void move(const struct iovec *iov, unsigned count, uint64_t skip, uint8_t *bytes, uint64_t length,
	bool into_iov)
{
	for (unsigned i = 0; i < count && length > 0; i++) {
		uint64_t from = smaller(skip, iov[i].iov_len), step = smaller(iov[i].iov_len - from, length);
		uint8_t *there = (uint8_t *)iov[i].iov_base + from;

		memcpy(into_iov ? there : bytes, into_iov ? bytes : there, step);
		skip -= from;
		bytes += step;
		length -= step;
	}
}

void held_overlay(const struct held_list *list, uint64_t offset, uint64_t length, const struct iovec *iov,
	unsigned count)
{
	for (const struct held *held = list->oldest; held; held = held->younger) {
		uint64_t start = larger(held->offset, offset);

		if (held->data && overlaps(held, offset, length))
			move(iov, count, start - offset, held->data + (start - held->offset),
				smaller(held->offset + held->length, offset + length) - start, true);
	}
}

static void supersede(
	struct held *held, uint64_t offset, uint64_t length, const struct iovec *iov, unsigned count)
{
	uint64_t start = larger(held->offset, offset);
	uint64_t common = smaller(held->offset + held->length, offset + length) - start;

	if (!held->data) {
		held->void_ = true;
	} else if (iov) {
		move(iov, count, start - offset, held->data + (start - held->offset), common, false);
		held->op = BLOCK_WRITE;
	} else {
		memset(held->data + (start - held->offset), 0, common);
	}
}

void held_supersede(
	struct held_list *list, uint64_t offset, uint64_t length, const struct iovec *iov, unsigned count)
{
	for (struct held *held = list->oldest; held; held = held->younger)
		if (overlaps(held, offset, length))
			supersede(held, offset, length, iov, count);
}
