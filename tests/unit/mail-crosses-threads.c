/* Every letter posted from any thread is read once, in its sender's order, on the reader's thread: for both readers,
 * a libev loop and a ring.  If this fails, a flush's waiter hangs for ever or two threads share an object. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <pthread.h>
#include <cmocka.h>

#include "cache/uring.h"
#include "conf/container.h"
#include "conf/loop.h"

enum { SENDERS = 4, LETTERS = 5000 };

struct reader {
	struct loop loop;
	struct uring uring;
	bool is_ring;
	pthread_t thread;
	unsigned expected[SENDERS];
	unsigned read;
};

struct letter {
	struct mail mail;
	struct reader *reader;
	unsigned sender, number;
};

struct sender {
	struct reader *reader;
	unsigned number;
	pthread_t thread;
	struct letter letters[LETTERS];
};

static struct sender senders[SENDERS];

static void read_letter(struct mail *mail)
{
	struct letter *letter = container_of(mail, struct letter, mail);
	struct reader *reader = letter->reader;

	assert_true(pthread_equal(reader->thread, pthread_self()));
	assert_int_equal(letter->number, reader->expected[letter->sender]++);
	if (++reader->read < SENDERS * LETTERS)
		return;
	if (reader->is_ring)
		uring_stop(&reader->uring);
	else
		loop_stop(&reader->loop);
}

static void *send_letters(void *arg)
{
	struct sender *sender = arg;

	for (unsigned i = 0; i < LETTERS; i++) {
		struct letter *letter = &sender->letters[i];

		*letter = (struct letter){ .mail.read = read_letter,
			.reader = sender->reader,
			.sender = sender->number,
			.number = i };
		if (sender->reader->is_ring)
			uring_post(&sender->reader->uring, &letter->mail);
		else
			loop_post(&sender->reader->loop, &letter->mail);
	}
	return NULL;
}

static void exchange(struct reader *reader)
{
	reader->thread = pthread_self();
	for (unsigned i = 0; i < SENDERS; i++) {
		senders[i].reader = reader;
		senders[i].number = i;
		pthread_create(&senders[i].thread, NULL, send_letters, &senders[i]);
	}
	if (reader->is_ring)
		uring_run(&reader->uring);
	else
		loop_run(&reader->loop);
	for (unsigned i = 0; i < SENDERS; i++)
		pthread_join(senders[i].thread, NULL);
	assert_int_equal(reader->read, SENDERS * LETTERS);
}

static void to_a_loop(void **state)
{
	struct reader reader = { .is_ring = false };

	(void)state;
	assert_int_equal(loop_init(&reader.loop, false), 0);
	exchange(&reader);
	loop_fini(&reader.loop);
}

static void to_a_ring(void **state)
{
	struct reader reader = { .is_ring = true };

	(void)state;
	assert_int_equal(uring_init(&reader.uring), 0);
	exchange(&reader);
	uring_fini(&reader.uring);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(to_a_loop),
		cmocka_unit_test(to_a_ring),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
