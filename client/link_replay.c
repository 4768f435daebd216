/* client/link_replay.c -- acknowledged writes are kept until a flush has covered them, and sent again where they may be lost.
 *
 * Y1  A write, trim or zero that the server has carried out is kept, before its request is done, until a flush that was sent
 *     after it has succeeded. One with FUA, too, where something is kept that it may have overwritten.
 * Y2  What is kept is a copy: after done() the data is the guest's again.
 * Y3  Replay keeps the order of completion, and ends before any other command is sent. What overlaps one of it that is in
 *     flight waits for that one.
 * Y4  verifier_kept names the state of the server in which everything that is kept is there: it is set when a replay has ended,
 *     so one that was interrupted begins anew.
 * Y5  Room is reserved before a command is sent. Where there is none, a flush of ours makes some, and the command waits.
 * Y6  After a flush of ours has failed nobody's succeeds on this connection: what it reported it reports only once.
 */
#include "client/link_parts.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/log.h"
#include "server/nbd_wire.h"

static bool is_on(const struct link *link)
{
	return link->replay.ring != NULL;
}

/* -- keeping ------------------------------------------------------------------------------------------------------ */

static bool is_change(const struct block_req *req)
{
	return req->op == BLOCK_WRITE || req->op == BLOCK_TRIM || req->op == BLOCK_ZERO;
}

/* A server that takes no flush has nothing that a flush would save. */
static bool is_to_be_kept(const struct link *link, const struct command *command)
{
	return is_on(link) && command->part == COMMAND_RANGE && is_change(command->req) &&
	       link->offer.facts.can_flush && !link->sync_failed && !link_is_again(link, command);
}

static size_t room_for(const struct command *command, uint64_t length)
{
	return command->req->op == BLOCK_WRITE ? length : 0;
}

bool link_replay_admits(struct link *link, struct command *command, uint64_t length)
{
	if (!is_to_be_kept(link, command))
		return true;
	command->reserved = replay_reserve(&link->replay, room_for(command, length));
	return command->reserved;
}

void link_replay_withdraw(struct link *link, struct command *command, uint64_t length)
{
	if (command->reserved)
		replay_release(&link->replay, room_for(command, length));
	command->reserved = false;
}

/* Y1, Y2 */
static void keep(struct link *link, struct command *command)
{
	const struct block_req *req = command->req;
	const struct replay_entry entry = {
		.op = req->op,
		.flags = req->flags & ~(unsigned)BLOCK_FUA,
		.offset = command->offset,
		.length = command->length,
	};
	bool is_stable = command->flags & NBD_CMD_FLAG_FUA;

	if (command->status || (is_stable && replay_is_empty(&link->replay)))
		replay_release(&link->replay, room_for(command, command->length));
	else
		replay_keep(&link->replay, &entry, req->iov, req->iov_count, command->carried_out);
	command->reserved = false;
}

static void note_flush(struct link *link, struct command *command)
{
	bool is_ours = command->req == &link->last_flush.req;

	if (command->status && is_ours && !link->sync_failed) {
		log_error("%s: the server cannot flush: flushes fail from now on", link->name);
		link->sync_failed = true;
	}
	if (link->sync_failed)
		command->status = command->status ? command->status : -EIO; /* Y6 */
	else if (command->status == 0)
		replay_drop(&link->replay, command->mark);
}

void link_replay_note(struct link *link, struct command *command)
{
	if (command->reserved)
		keep(link, command);
	else if (command->type == NBD_CMD_FLUSH)
		note_flush(link, command);
}

/* Y5 */
bool link_replay_makes_room(struct link *link)
{
	if (!is_on(link) || link->sync_failed || link->last_flush.running || replay_is_empty(&link->replay))
		return false;
	return link_start_flush(link);
}

/* -- sending again ------------------------------------------------------------------------------------------------ */

bool link_is_again(const struct link *link, const struct command *command)
{
	return command >= &link->commands[LINK_COMMANDS_MAX];
}

bool link_replay_is_running(const struct link *link)
{
	return link->again.running;
}

void link_replay_begin(struct link *link)
{
	bool is_same =
		link->verifier.value && link->verifier.value == link->verifier_kept && !link->sync_failed;

	link->sync_failed = false;
	link->again.running = is_on(link) && !is_same;
	link->again.at = link->replay.begin;
	if (link->again.running && !replay_is_empty(&link->replay))
		log_warning("%s: the server may have lost what it had not flushed: sends %" PRIu64
			    " KiB of it again",
			link->name, (link->replay.end - link->replay.begin) >> 10);
}

void link_replay_lose(struct link *link)
{
	struct command *command, *next;

	if (!is_on(link))
		return;
	for (command = link->sent.first; command; command = next) {
		next = command->next;
		if (link_is_again(link, command))
			command_list_remove(&link->sent, command);
	}
	link->again.unsent = (struct command_list){ NULL, NULL };
	for (unsigned i = 0; i < LINK_AGAIN_MAX; i++) {
		struct command *again = &link->commands[LINK_COMMANDS_MAX + i];

		if (link->again.slots[i].busy)
			command_restart(again, &link->flats);
		link->again.slots[i].busy = false;
	}
	link->again.in_flight = 0;
	link->again.running = false;
	replay_release_all(&link->replay);
}

static void on_sent_again(struct block_req *req, int status)
{
	struct again_slot *slot = container_of(req, struct again_slot, req);
	struct link *link = slot->link;
	char why[OFFER_WHY_SIZE];

	slot->busy = false;
	link->again.in_flight--;
	if (status == 0)
		return;
	snprintf(why, sizeof(why), "a write that the guest was told is done cannot be sent again: %s",
		strerror(-status));
	link->proved = false; /* so that the next dials wait longer and longer */
	link_doom(link, why);
}

static bool overlaps_one_in_flight(const struct link *link, const struct replay_entry *entry)
{
	for (unsigned i = 0; i < LINK_AGAIN_MAX; i++) {
		const struct again_slot *slot = &link->again.slots[i];

		if (slot->busy && entry->offset < slot->req.offset + slot->req.length &&
			slot->req.offset < entry->offset + entry->length)
			return true;
	}
	return false;
}

static struct again_slot *free_slot(struct link *link)
{
	for (unsigned i = 0; i < LINK_AGAIN_MAX; i++)
		if (!link->again.slots[i].busy)
			return &link->again.slots[i];
	return NULL;
}

static void start_again(struct link *link, struct again_slot *slot, const struct replay_entry *entry)
{
	struct command *command = &link->commands[LINK_COMMANDS_MAX + (slot - link->again.slots)];

	slot->link = link;
	slot->busy = true;
	slot->iov = (struct iovec){ entry->data, entry->length };
	slot->req = (struct block_req){
		.op = entry->op,
		.flags = entry->flags,
		.offset = entry->offset,
		.length = entry->length,
		.iov = entry->data ? &slot->iov : NULL,
		.iov_count = entry->data ? 1 : 0,
		.done = on_sent_again,
	};
	link->again.in_flight++;
	command_start(command, &slot->req);
	command_list_append(&link->again.unsent, command);
}

/* An export that was made smaller since then has no place for it. */
static bool has_place(const struct link *link, const struct replay_entry *entry)
{
	uint64_t size = link->disk.facts.size;

	return entry->offset <= size && entry->length <= size - entry->offset;
}

/* Y3 */
static void start_more(struct link *link)
{
	struct replay_entry entry;
	struct again_slot *slot;
	uint64_t next = link->again.at;

	while ((slot = free_slot(link)) && replay_next(&link->replay, &next, &entry) &&
		!overlaps_one_in_flight(link, &entry)) {
		link->again.at = next;
		if (has_place(link, &entry))
			start_again(link, slot, &entry);
	}
}

struct command *link_replay_next(struct link *link)
{
	uint64_t at = link->again.at;
	struct replay_entry entry;

	start_more(link);
	if (link->again.unsent.first || link->again.in_flight)
		return link->again.unsent.first;
	at = link->again.at;
	assert(!replay_next(&link->replay, &at, &entry));
	link->again.running = false;
	link->verifier_kept = link->verifier.value; /* Y4 */
	return NULL;
}
