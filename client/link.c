/* client/link.c -- a link's birth and end, and what others ask of it. Its inside: client/link_parts.h. */
#include "client/link_parts.h"

#include <stdio.h>
#include <stdlib.h>

static void free_as_disk(struct disk *disk)
{
	link_free(link_of(disk));
}

static const struct disk_ops link_ops = {
	.submit = link_submit, .recall = link_recall, .free = free_as_disk
};

static void init_watchers(struct link *link)
{
	ev_init(&link->on_dial, link_on_dial);
	ev_timer_init(&link->on_timer, link_on_timer, 0., 0.);
	link->on_dial.data = link->on_timer.data = link;
	link->on_socket = (struct loop_source){ .ready = link_on_socket, .fd = -1 };
	link->turn.run = link_on_turn;
	link_wake(link, 0.);
	loop_add_turn(link->loop, &link->turn, false);
}

int link_new(const struct link_config *config, struct link **out)
{
	struct link *link = calloc(1, sizeof(*link));

	if (!link)
		return -ENOMEM;
	if (flat_pool_init(&link->flats))
		goto free_link;
	if (replay_init(&link->replay, config->replay_bytes))
		goto fini_flats;
	link->disk.ops = &link_ops;
	link->loop = config->loop;
	link->uri = config->uri;
	link->watch = config->watch;
	link->sizes = config->sizes;
	link->readonly = config->readonly;
	snprintf(link->name, sizeof(link->name), "%s", config->name);
	snprintf(link->session, sizeof(link->session), "%s", config->session ? config->session : "");
	if (config->promised) {
		link->disk.facts = *config->promised;
		link->has_promised = true;
	}
	link->last_waiting = &link->waiting;
	link->engine_owner = (struct engine_owner){ link_on_answered, link_on_lost };
	for (unsigned i = 0; i < LINK_COMMANDS_MAX; i++)
		command_list_append(&link->idle, &link->commands[i]);
	init_watchers(link);
	*out = link;
	return 0;

fini_flats:
	flat_pool_fini(&link->flats);
free_link:
	free(link);
	return -ENOMEM;
}

/* NBD_CMD_DISC, if it can leave at once: a server then knows that nothing went wrong. */
static void say_goodbye(struct link *link)
{
	if (link->state == LINK_READY && !link->sent.first && !link->doomed)
		engine_disconnect(link->engine);
}

void link_free(struct link *link)
{
	if (!link)
		return;
	say_goodbye(link);
	link_unwatch(link);
	ev_timer_stop(link->loop->ev, &link->on_timer);
	loop_remove_turn(link->loop, &link->turn);
	link_hang_up(link);
	replay_fini(&link->replay);
	flat_pool_fini(&link->flats);
	free(link);
}

struct disk *link_disk(struct link *link)
{
	return &link->disk;
}

const struct offer *link_offer(const struct link *link)
{
	return link->has_offer ? &link->offer : NULL;
}

void link_promise(struct link *link, const struct disk_facts *facts)
{
	link->disk.facts = *facts;
}

void link_promise_size(struct link *link, uint64_t bytes)
{
	link->disk.facts.size = bytes;
}

bool link_is_ready(const struct link *link)
{
	return link->state == LINK_READY && !link->doomed;
}

unsigned link_load(const struct link *link)
{
	return link->load;
}
