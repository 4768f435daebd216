/* server/handshake_faults.c -- what fault rules do to connections that have no export yet: they wait, are hung up on, or are never
 * answered. */
#include "server/handshake_parts.h"

/* Nothing more is said, for as long as it takes. */
static void pause_for_fault(struct handshake *handshake)
{
	handshake->fault.paused = true;
	ev_timer_stop(handshake->all->loop->ev, &handshake->on_deadline);
	handshake_wait_for(handshake, EV_READ);
}

static void resume(struct handshake *handshake)
{
	handshake->fault.paused = false;
	ev_timer_set(&handshake->on_deadline, handshake->all->deadline_s, 0);
	ev_timer_start(handshake->all->loop->ev, &handshake->on_deadline);
	handshake_wait_for(handshake, EV_READ);
	handshake_advance(handshake);
}

static bool is_held(const struct handshake *handshake)
{
	const struct fault_verdict *verdict = &handshake->fault.verdict;

	return verdict->reply.action == FAULT_DO_hold &&
	       fault_set_holds(handshake->all->faults, verdict->reply.id, verdict->ticket);
}

/* After its time. Returns whether the handshake stops here, or has ended. */
static bool suffer(struct handshake *handshake)
{
	const struct fault_verdict *verdict = &handshake->fault.verdict;

	if (verdict->reply.action == FAULT_DO_close) {
		handshake_close(handshake, CLOSE_fault);
		return true;
	}
	if (verdict->data.action != FAULT_DO_blackhole && !is_held(handshake))
		return false;
	pause_for_fault(handshake);
	return true;
}

static void on_fault_time(struct ev_loop *ev, ev_timer *timer, int events)
{
	struct handshake *handshake = timer->data;

	(void)ev;
	(void)events;
	if (!suffer(handshake))
		resume(handshake);
}

static enum nbd_option_error refusal_of(const struct fault_verdict *verdict)
{
	return verdict->data.action == FAULT_DO_refuse ? (enum nbd_option_error)verdict->data.arguments[0]
						       : 0;
}

bool handshake_meets_fault(struct handshake *handshake, enum fault_operation operation)
{
	struct fault_set *faults = handshake->all->faults;
	struct fault_event event = {
		.operation = operation,
		.peer = handshake->peer,
		.who = &handshake->who,
		.connection = handshake->number,
	};

	if (!faults || !fault_set_is_armed(faults))
		return false;
	event.now_ns = fault_now_ns();
	if (!fault_set_judge(faults, &event, NULL, NULL, &handshake->fault.verdict))
		return false;
	handshake->negotiation.refusal = refusal_of(&handshake->fault.verdict);
	if (handshake->fault.verdict.delay_ns == 0)
		return suffer(handshake);
	pause_for_fault(handshake);
	ev_timer_set(&handshake->fault.on_time, (double)handshake->fault.verdict.delay_ns / 1e9, 0);
	ev_timer_start(handshake->all->loop->ev, &handshake->fault.on_time);
	return true;
}

void handshake_take_in(struct handshake *handshake)
{
	if (handshake->fault.verdict.data.action == FAULT_DO_blackhole)
		handshake->in_length = 0;
	if (handshake->in_length == sizeof(handshake->in))
		ev_io_stop(handshake->all->loop->ev, &handshake->on_ready);
}

static bool is_delayed(const struct handshake *handshake)
{
	return ev_is_active(&handshake->fault.on_time) &&
	       fault_set_holds(handshake->all->faults, handshake->fault.verdict.delay_id, UINT64_MAX);
}

static bool is_swallowed(const struct handshake *handshake)
{
	const struct fault_effect *data = &handshake->fault.verdict.data;

	return data->action == FAULT_DO_blackhole &&
	       fault_set_holds(handshake->all->faults, data->id, UINT64_MAX);
}

void handshakes_look_at_faults(struct handshakes *handshakes)
{
	struct handshake *next;

	for (struct handshake *handshake = handshakes->first; handshake; handshake = next) {
		next = handshake->next;
		if (!handshake->fault.paused || is_delayed(handshake) || is_held(handshake) ||
			is_swallowed(handshake))
			continue;
		ev_timer_stop(handshakes->loop->ev, &handshake->fault.on_time);
		resume(handshake);
	}
}

void handshake_faults_init(struct handshake *handshake)
{
	handshake->fault.paused = handshake->fault.judged = false;
	ev_timer_init(&handshake->fault.on_time, on_fault_time, 0, 0);
	handshake->fault.on_time.data = handshake;
}
