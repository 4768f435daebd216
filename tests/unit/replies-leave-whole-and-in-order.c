/* Whatever pieces the socket takes, the client gets each reply's head with its own data behind it.
 * If this fails, a short send mixes the data of two requests up. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "server/outbox.h"

#define REPLIES 700

static struct outbox box;
static struct buffer_pool pool;
static struct request requests[REPLIES];

/* Every third is a write: a reply without data. The length of the others tells them apart, as does their data. */
static void fill(unsigned count)
{
	buffer_pool_init(&pool, 64 << 20);
	outbox_init(&box);
	for (unsigned i = 0; i < count; i++) {
		struct request *request = &requests[i];

		*request = (struct request){ .magic = REQUEST_MAGIC, .stage = REQUEST_REPLYING };
		request->command.cookie = i;
		request->command.type = i % 3 ? NBD_CMD_READ : NBD_CMD_WRITE;
		request->command.length = 1 + i % 5000;
		if (i % 3) {
			request->buffer = buffer_get(&pool, request->command.length);
			memset(buffer_data(request->buffer), (int)i, request->command.length);
		}
		outbox_add(&box, request);
	}
}

static void put_all(struct request_list *done)
{
	struct request *request;

	while ((request = request_list_take(done)))
		if (request->buffer)
			buffer_put(&pool, request->buffer);
}

static unsigned count(const struct request_list *list)
{
	unsigned total = 0;

	for (struct request *request = list->first; request; request = request->next)
		total++;
	return total;
}

/* Takes up to @most bytes as a socket would. */
static size_t take(uint8_t *out, size_t most)
{
	size_t taken = 0;

	for (size_t i = 0; i < box.message.msg_iovlen && taken < most; i++) {
		const struct iovec *iov = &box.message.msg_iov[i];
		size_t length = iov->iov_len < most - taken ? iov->iov_len : most - taken;

		memcpy(out + taken, iov->iov_base, length);
		taken += length;
	}
	return taken;
}

static void check_stream(const uint8_t *stream, const uint8_t *end)
{
	for (unsigned i = 0; i < REPLIES; i++) {
		uint8_t head[REPLY_HEAD_MAX];
		struct reply_piece piece;

		reply_next(&requests[i], HEADERS_SIMPLE, 0, head, &piece);
		assert_true(stream + piece.head <= end);
		assert_memory_equal(stream, head, piece.head);
		stream += piece.head;
		for (size_t n = piece.length; n > 0; n--)
			assert_int_equal(*stream++, i & 0xff);
	}
	assert_ptr_equal(stream, end);
}

static void short_sends(void **state)
{
	static const size_t pieces[] = { 1, 15, 16, 17, 100, 4096, 5000, 1 << 20 };
	uint8_t *stream = malloc(REPLIES * 5016), *end = stream;
	unsigned piece = 0;

	(void)state;
	fill(REPLIES);
	while (outbox_is_waiting(&box)) {
		struct request_list done;
		size_t taken;

		request_list_init(&done);
		outbox_pack(&box, &pool, HEADERS_SIMPLE, &done);
		assert_true(box.message.msg_iovlen <= SEND_IOVECS);
		do {
			taken = take(end, pieces[piece++ % 8]);
			end += taken;
		} while (outbox_advance(&box, taken));
		outbox_clear(&box, &pool, &done);
		put_all(&done);
	}
	check_stream(stream, end);
	buffer_pool_fini(&pool);
	free(stream);
}

static void data_is_kept_until_it_has_left(void **state)
{
	struct request_list done;

	(void)state;
	fill(9);
	request_list_init(&done);
	outbox_pack(&box, &pool, HEADERS_STRUCTURED, &done);
	assert_int_equal(count(&done), 3);
	assert_true(outbox_advance(&box, 100));
	assert_int_equal(count(&box.packed), 6);
	outbox_clear(&box, &pool, &done);
	assert_int_equal(count(&done), 9);
	assert_false(outbox_is_waiting(&box));
	put_all(&done);
	buffer_pool_fini(&pool);
}

enum { GRAINS = 1000 };

/* More chunks than a message takes: every second grain is a hole. And a write behind it. */
static void fill_holes(void)
{
	uint64_t length = (uint64_t)GRAINS * REPLY_HOLE_GRAIN;

	buffer_pool_init(&pool, 64 << 20);
	outbox_init(&box);
	for (unsigned i = 0; i < 2; i++) {
		requests[i] = (struct request){ .magic = REQUEST_MAGIC, .stage = REQUEST_REPLYING };
		requests[i].command.cookie = i;
		requests[i].command.type = i == 0 ? NBD_CMD_READ : NBD_CMD_WRITE;
		requests[i].command.length = length;
	}
	requests[0].buffer = buffer_get(&pool, length);
	for (unsigned i = 0; i < GRAINS; i++)
		memset(buffer_data(requests[0].buffer) + (size_t)i * REPLY_HOLE_GRAIN, i % 2,
			REPLY_HOLE_GRAIN);
	outbox_add(&box, &requests[0]);
	outbox_add(&box, &requests[1]);
}

static void many_holes_take_many_messages(void **state)
{
	uint8_t *stream = malloc((size_t)GRAINS * REPLY_HOLE_GRAIN), *at = stream, *end = stream;
	struct request_list done;
	unsigned messages = 0;

	(void)state;
	fill_holes();
	request_list_init(&done);
	for (; outbox_is_waiting(&box); messages++) {
		assert_int_equal(count(&done), 0);
		outbox_pack(&box, &pool, HEADERS_STRUCTURED, &done);
		assert_true(box.message.msg_iovlen <= SEND_IOVECS);
		end += take(end, SIZE_MAX);
		assert_false(outbox_advance(&box, SIZE_MAX));
		outbox_clear(&box, &pool, &done);
	}
	assert_true(messages > 2);
	assert_int_equal(count(&done), 2);
	for (unsigned i = 0; i < GRAINS; i++) {
		assert_int_equal(nbd_get16(at + 4), i == GRAINS - 1 ? NBD_REPLY_FLAG_DONE : 0);
		assert_int_equal(
			nbd_get16(at + 6), i % 2 ? NBD_REPLY_TYPE_OFFSET_DATA : NBD_REPLY_TYPE_OFFSET_HOLE);
		assert_int_equal(nbd_get64(at + 20), (uint64_t)i * REPLY_HOLE_GRAIN);
		at += 20 + nbd_get32(at + 16);
	}
	assert_int_equal(end - at, sizeof(struct nbd_simple_reply));
	put_all(&done);
	buffer_pool_fini(&pool);
	free(stream);
}

static void a_reply_begun_stays_with_its_message(void **state)
{
	struct request_list done;

	(void)state;
	fill_holes();
	request_list_init(&done);
	outbox_pack(&box, &pool, HEADERS_STRUCTURED, &done);
	outbox_drop(&box, &done);
	assert_int_equal(count(&done), 1);
	assert_ptr_equal(done.first, &requests[1]);
	outbox_clear(&box, &pool, &done);
	assert_int_equal(count(&done), 2);
	assert_false(outbox_is_waiting(&box));
	put_all(&done);
	buffer_pool_fini(&pool);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(short_sends),
		cmocka_unit_test(data_is_kept_until_it_has_left),
		cmocka_unit_test(many_holes_take_many_messages),
		cmocka_unit_test(a_reply_begun_stays_with_its_message),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
