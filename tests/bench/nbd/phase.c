/* tests/bench/nbd/phase.c -- keeps the queues full until a phase ends, and stamps the measured one. */
#include "load.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

static uint32_t inflight(void)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < opt.conns; i++)
		sum += conns[i].ninflight;
	return sum;
}

static void phase_begin(enum op op, uint64_t limit, bool measured, bool only_written)
{
	phase = (struct phase){
		.op = op, .limit = limit, .measured = measured, .only_written = only_written
	};
	now = clock_ns(CLOCK_MONOTONIC);
	if (measured && (limit || opt.warmup <= 0)) {
		take_snap(&at_start, true);
		phase.measuring = true;
		now = clock_ns(CLOCK_MONOTONIC);
	}
	phase.t_meas = now + (uint64_t)(opt.warmup * 1e9);
	phase.t_end = (phase.measuring ? now : phase.t_meas) + (uint64_t)(opt.runtime * 1e9);
	for (unsigned i = 0; i < opt.conns; i++)
		conn_pump(&conns[i]);
}

/* Stops the clocks, then takes the replies still due without counting them. */
static void measuring_end(void)
{
	struct latency data = data_latency, flush = flush_latency;
	struct counts counted;

	take_snap(&at_end, false);
	counted = count;
	while (inflight()) {
		for (unsigned i = 0; i < opt.conns; i++) {
			conn_send(&conns[i]);
			conn_recv(&conns[i], MSG_DONTWAIT);
		}
		if (now - at_end.t > (uint64_t)(opt.timeout * 1e9))
			die("no reply for %g s", opt.timeout);
	}
	data_latency = data;
	flush_latency = flush;
	count.reads = counted.reads;
	count.writes = counted.writes;
	count.flushes = counted.flushes;
}

static void wait_for_any(uint64_t *last_event)
{
	struct epoll_event ev[64];
	int n = epoll_wait(epfd, ev, 64, opt.spin ? 0 : (int)(opt.timeout * 1e3));

	count.nwait++;
	if (n < 0 && errno != EINTR)
		die("epoll_wait: %s", strerror(errno));
	if (n > 0)
		*last_event = now;
	else if (n == 0 && (!opt.spin || clock_ns(CLOCK_MONOTONIC) - *last_event > opt.timeout * 1e9))
		die("no reply for %g s", opt.timeout);
	for (int i = 0; i < n; i++) {
		struct conn *c = ev[i].data.ptr;

		if (ev[i].events & EPOLLOUT)
			conn_send(c);
		if (ev[i].events & ~(uint32_t)EPOLLOUT)
			conn_recv(c, MSG_DONTWAIT);
	}
}

void run_phase(enum op op, uint64_t limit, bool measured, bool only_written)
{
	uint64_t last_event;

	phase_begin(op, limit, measured, only_written);
	last_event = now;
	while (!phase.stopping && inflight()) {
		if (opt.conns == 1 && !conns->queued)
			conn_recv(conns, opt.spin ? MSG_DONTWAIT : 0);
		else
			wait_for_any(&last_event);
	}
	if (measured)
		measuring_end();
}
