/* A loop that goes past libev misses nothing: descriptors, edges, mail, turns, and a timer that is started after hours of
 * going past is due when it should be.  If this fails, a guest's disk stands still, or a server is never dialled again. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "conf/container.h"
#include "conf/loop.h"

static struct rig {
	struct loop loop;
	struct loop_source first, second;
	struct loop_turn turn, other_turn;
	struct mail mail;
	ev_timer timer;
	ev_tstamp began;
	unsigned ready, turns, other_turns;
} rig;

static void kick(int fd)
{
	uint64_t one = 1;

	assert_int_equal(write(fd, &one, sizeof(one)), sizeof(one));
}

static void on_mail(struct mail *mail)
{
	(void)mail;
	loop_stop(&rig.loop);
}

static int begin(void **state)
{
	(void)state;
	rig = (struct rig){ .first.fd = -1, .second.fd = -1 };
	assert_int_equal(loop_init(&rig.loop, false), 0);
	return 0;
}

static int end(void **state)
{
	(void)state;
	loop_unwatch(&rig.loop, &rig.first);
	loop_unwatch(&rig.loop, &rig.second);
	loop_fini(&rig.loop);
	return 0;
}

static void watch(
	struct loop_source *source, void (*ready)(struct loop_source *source, int revents), bool edge)
{
	source->ready = ready;
	assert_int_equal(
		loop_watch(&rig.loop, source, eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), EV_READ, edge), 0);
}

/* -- each kick of an eventfd that nobody reads --------------------------------------------------------------------- */

static void on_kick(struct loop_source *source, int revents)
{
	assert_int_equal(revents, EV_READ);
	if (++rig.ready < 3) {
		kick(source->fd);
	} else {
		/* Until the letter is there, the loop could see the same kick again. */
		rig.mail.read = on_mail;
		loop_post(&rig.loop, &rig.mail);
	}
}

static void each_kick_is_seen_once(void **state)
{
	int fd;

	(void)state;
	watch(&rig.first, on_kick, true);
	fd = rig.first.fd;
	kick(fd);
	loop_run_quickly(&rig.loop);
	assert_int_equal(rig.ready, 3);
	/* The same while libev waits. */
	rig.ready = 0;
	kick(fd);
	loop_run(&rig.loop);
	assert_int_equal(rig.ready, 3);
	close(fd);
}

/* -- a source that is no longer watched when its turn comes -------------------------------------------------------- */

static void on_either(struct loop_source *source, int revents)
{
	(void)revents;
	rig.ready++;
	loop_unwatch(&rig.loop, source == &rig.first ? &rig.second : &rig.first);
	loop_stop(&rig.loop);
}

static void what_is_unwatched_is_not_called(void **state)
{
	int first, second;

	(void)state;
	watch(&rig.first, on_either, false);
	watch(&rig.second, on_either, false);
	first = rig.first.fd;
	second = rig.second.fd;
	kick(first);
	kick(second);
	loop_run_quickly(&rig.loop);
	assert_int_equal(rig.ready, 1);
	close(first);
	close(second);
}

/* -- a timer -------------------------------------------------------------------------------------------------------- */

static void on_timer(struct ev_loop *ev, ev_timer *watcher, int revents)
{
	(void)ev;
	(void)watcher;
	(void)revents;
	loop_stop(&rig.loop);
}

static void start_timer(struct loop_source *source, int revents)
{
	(void)revents;
	assert_true(rig.loop.quick);
	loop_unwatch(&rig.loop, source);
	rig.began = ev_time();
	loop_use_ev(&rig.loop);
	ev_timer_init(&rig.timer, on_timer, 0.2, 0.);
	ev_timer_start(rig.loop.ev, &rig.timer);
}

static void *kick_late(void *arg)
{
	usleep(300000);
	kick(*(int *)arg);
	return NULL;
}

static void a_timer_is_due_when_it_should_be(void **state)
{
	pthread_t kicker;
	int fd;

	(void)state;
	watch(&rig.first, start_timer, true);
	fd = rig.first.fd;
	assert_int_equal(pthread_create(&kicker, NULL, kick_late, &fd), 0);
	loop_run_quickly(&rig.loop);
	assert_true(ev_time() - rig.began > 0.19);
	pthread_join(kicker, NULL);
	close(fd);
}

/* -- mail and turns ------------------------------------------------------------------------------------------------- */

static void on_turn(struct loop_turn *turn)
{
	loop_remove_turn(&rig.loop, &rig.other_turn);
	if (++rig.turns == 1) {
		loop_stay_awake(&rig.loop);
	} else if (rig.turns == 3) {
		loop_may_sleep(&rig.loop);
		loop_remove_turn(&rig.loop, turn);
		rig.mail.read = on_mail;
		loop_post(&rig.loop, &rig.mail);
	}
}

static void on_other_turn(struct loop_turn *turn)
{
	(void)turn;
	rig.other_turns++;
}

static void take_turns(void (*run)(struct loop *loop))
{
	rig.turns = rig.other_turns = 0;
	rig.turn.run = on_turn;
	rig.other_turn.run = on_other_turn;
	loop_add_turn(&rig.loop, &rig.other_turn, false);
	loop_add_turn(&rig.loop, &rig.turn, true);
	run(&rig.loop);
	assert_int_equal(rig.turns, 3);
	assert_int_equal(rig.other_turns, 0);
}

static void turns_come_while_it_is_awake(void **state)
{
	(void)state;
	take_turns(loop_run_quickly);
	take_turns(loop_run);
}

static void stop_in_turn(struct loop_turn *turn)
{
	if (++rig.turns == 1 && !rig.loop.quick)
		return; /* libev's, which finds nothing to watch */
	assert_true(rig.loop.quick);
	loop_remove_turn(&rig.loop, turn);
	loop_stop(&rig.loop);
}

static void a_turn_can_stop_it(void **state)
{
	(void)state;
	rig.turn.run = stop_in_turn;
	loop_add_turn(&rig.loop, &rig.turn, false);
	loop_run_quickly(&rig.loop);
	assert_int_equal(rig.turns, 2);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(each_kick_is_seen_once, begin, end),
		cmocka_unit_test_setup_teardown(what_is_unwatched_is_not_called, begin, end),
		cmocka_unit_test_setup_teardown(a_timer_is_due_when_it_should_be, begin, end),
		cmocka_unit_test_setup_teardown(a_turn_can_stop_it, begin, end),
		cmocka_unit_test_setup_teardown(turns_come_while_it_is_awake, begin, end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
