/* client/link_requests.c -- block requests become commands, commands are sent, and answers go back up. */
#include "client/link_parts.h"

#include <assert.h>

static struct command_limits limits_of(const struct link *link)
{
	uint32_t data_max = link->offer.command_data_max;

	if (link->replay.ring && data_max > REPLAY_DATA_MAX)
		data_max = REPLAY_DATA_MAX;
	return (struct command_limits){ data_max, link->offer.native_fua, link->engine->scatters };
}

/* Where it waits to be sent. */
static struct command_list *unsent_of(struct link *link, const struct command *command)
{
	return link_is_again(link, command) ? &link->again.unsent : &link->unsent;
}

static struct link *link_of_engine(struct engine_owner *owner)
{
	return container_of(owner, struct link, engine_owner);
}

/* L3 */
void link_on_answered(struct engine_owner *owner, struct command *command)
{
	struct link *link = link_of_engine(owner);

	command_list_remove(&link->sent, command);
	command_list_append(&link->answered, command);
	link->proved = true;
}

/* L3 */
void link_on_lost(struct engine_owner *owner, const char *why)
{
	link_doom(link_of_engine(owner), why);
}

/* The next command to send in this state; but in READY only what has begun before. */
static struct command *next_unsent(struct link *link)
{
	struct block_req *req = link->waiting;
	struct command *command;

	if (link_replay_is_running(link)) {
		command = link_replay_next(link);
		if (command || link_replay_is_running(link))
			return command;
	}
	if (link->unsent.first || link->state != LINK_READY || !req)
		return link->unsent.first;
	command = command_list_take(&link->idle);
	if (!command)
		return NULL;
	link->waiting = req->wait.next;
	if (!link->waiting)
		link->last_waiting = &link->waiting;
	command_start(command, req);
	command_list_append(&link->unsent, command);
	return command;
}

/* Returns false where nothing more can be sent now. */
static bool send_one(struct link *link)
{
	struct command_limits limits = limits_of(link);
	struct command *command = link->doomed ? NULL : next_unsent(link);
	uint64_t length;

	if (!command)
		return false;
	length = command_cut(command, &limits);
	if (!link_replay_admits(link, command, length))
		return link_replay_makes_room(link);
	if (!command_prepare(command, &limits, &link->flats)) {
		link_replay_withdraw(link, command, length);
		return false;
	}
	command->mark = replay_mark(&link->replay);
	command_list_remove(unsent_of(link, command), command);
	command_list_append(&link->sent, command);
	if (engine_issue(link->engine, command))
		return true;
	command_list_remove(&link->sent, command);
	command_list_prepend(unsent_of(link, command), command);
	link_replay_withdraw(link, command, length);
	return false;
}

void link_send(struct link *link)
{
	if (link->replay.ring && link->state == LINK_READY && replay_is_filling(&link->replay))
		link_replay_makes_room(link);
	while (send_one(link))
		;
	if (!link->doomed)
		engine_flush(link->engine);
}

/* Runs done(), which may submit: nothing of @command is used after it. */
static void end_request(struct link *link, struct command *command)
{
	struct block_req *req = command->req;
	int status = command->status;

	if (!link_is_again(link, command)) {
		command_list_append(&link->idle, command);
		link->load--;
	}
	req->done(req, status);
}

void link_take_answers(struct link *link)
{
	struct command_limits limits = limits_of(link);
	struct command *command;

	while ((command = command_list_take(&link->answered))) {
		if (link->replay.ring)
			link_replay_note(link, command);
		if (command_advance(command, &limits, &link->flats))
			command_list_prepend(unsent_of(link, command), command);
		else
			end_request(link, command);
	}
}

int link_submit(struct disk *disk, struct block_req *req)
{
	struct link *link = link_of(disk);

	loop_assert_mine(link->loop);
	req->wait.next = NULL;
	*link->last_waiting = req;
	link->last_waiting = &req->wait.next;
	link->load++;
	return DISK_PENDING;
}

/* -- recalling ---------------------------------------------------------------------------------------------------- */

static bool take_waiting(struct link *link, const struct block_req *req)
{
	struct block_req **at = &link->waiting;

	while (*at && *at != req)
		at = &(*at)->wait.next;
	if (!*at)
		return false;
	*at = req->wait.next;
	if (!*at)
		link->last_waiting = at;
	return true;
}

static struct command *find_command(const struct command_list *list, const struct block_req *req)
{
	struct command *command = list->first;

	while (command && command->req != req)
		command = command->next;
	return command;
}

static struct command *command_that_carries(const struct link *link, const struct block_req *req)
{
	struct command *command = find_command(&link->unsent, req);

	if (!command)
		command = find_command(&link->sent, req);
	return command ? command : find_command(&link->answered, req);
}

static bool is_connected(const struct link *link)
{
	return link->state != LINK_DOWN && link->state != LINK_DIALLING;
}

/* L2: without a connection nothing of ours is on its way. */
bool link_recall(struct disk *disk, struct block_req *req)
{
	struct link *link = link_of(disk);
	struct command *command;

	loop_assert_mine(link->loop);
	if (take_waiting(link, req)) {
		link->load--;
		return true;
	}
	command = command_that_carries(link, req);
	if (!command)
		return false;
	command->recalled = true;
	if (is_connected(link))
		return false;
	command_list_remove(&link->unsent, command);
	command_list_append(&link->idle, command);
	link->load--;
	return true;
}

/* Their connection is lost: they are not sent again. */
void link_end_recalled(struct link *link)
{
	struct command_list recalled = { NULL, NULL };
	struct command *command, *next;

	for (command = link->unsent.first; command; command = next) {
		next = command->next;
		if (!command->recalled)
			continue;
		command_list_remove(&link->unsent, command);
		command_list_append(&recalled, command);
	}
	while ((command = command_list_take(&recalled))) {
		command->status = -ECANCELED;
		end_request(link, command);
	}
}
