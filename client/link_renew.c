/* client/link_renew.c -- a connection that works is given up for another one. */
#include "client/link_parts.h"

#include "conf/log.h"

static void on_last_flush(struct block_req *req, int status)
{
	struct link *link = container_of(req, struct link, last_flush.req);

	link->last_flush.running = false;
	link->last_flush.done = status == 0;
	link->last_flush.failed = status != 0;
}

bool link_start_flush(struct link *link)
{
	struct command *command = command_list_take(&link->idle);

	if (!command)
		return false;
	link->last_flush.running = true;
	link->last_flush.req = (struct block_req){ .op = BLOCK_FLUSH, .done = on_last_flush };
	link->load++;
	command_start(command, &link->last_flush.req);
	command_list_prepend(&link->unsent, command);
	return true;
}

static bool needs_last_flush(const struct link *link)
{
	return link->offer.facts.can_flush && !link->offer.facts.can_multi_conn && !link->last_flush.done;
}

/* L7 */
enum link_event link_next_of_draining(struct link *link)
{
	if (link->unsent.first || link->sent.first || link->answered.first)
		return LINK_NOTHING;
	if (link->last_flush.failed) {
		log_warning("%s: the server cannot flush: the connection stays as it is", link->name);
		return LINK_KEPT;
	}
	if (!needs_last_flush(link)) {
		engine_disconnect(link->engine);
		return LINK_DRAINED;
	}
	link_start_flush(link);
	return LINK_NOTHING;
}

void link_renew(struct link *link)
{
	loop_assert_mine(link->loop);
	if (link->state == LINK_READY && !link->doomed && !link->last_flush.running)
		link_handle(link, LINK_RENEW);
}
