/* server/negotiation.c -- options are rows of a table; each answers into out. */
#include "server/negotiation_parts.h"

#include <assert.h>
#include <endian.h>
#include <stdlib.h>
#include <string.h>

static_assert(NEGOTIATION_MESSAGE_MAX == sizeof(struct nbd_option_header) + OPTION_DATA_MAX, "");

bool negotiation_is_secure(const struct negotiation *negotiation)
{
	return negotiation->who && negotiation->who->tls;
}

static void on_abort(struct negotiation *negotiation, const struct option *option)
{
	negotiation_acknowledge(negotiation, option->number);
	negotiation_end(negotiation, CLOSE_handshake_abort);
}

static void on_structured_reply(struct negotiation *negotiation, const struct option *option)
{
	/* Extended headers "take precedence over this option". */
	if (negotiation->headers == HEADERS_EXTENDED) {
		negotiation_refuse(negotiation, option->number, NBD_REP_ERR_EXT_HEADER_REQD,
			"extended headers are negotiated already");
		return;
	}
	negotiation->headers = HEADERS_STRUCTURED;
	negotiation_acknowledge(negotiation, option->number);
}

static void on_extended_headers(struct negotiation *negotiation, const struct option *option)
{
	negotiation->headers = HEADERS_EXTENDED;
	negotiation_acknowledge(negotiation, option->number);
}

static void on_starttls(struct negotiation *negotiation, const struct option *option)
{
	if (negotiation->tls == TLS_OFF) {
		negotiation_refuse(negotiation, option->number, NBD_REP_ERR_POLICY, "this server has no TLS");
	} else if (negotiation_is_secure(negotiation)) {
		negotiation_refuse(negotiation, option->number, NBD_REP_ERR_INVALID, "this is TLS already");
	} else {
		negotiation_acknowledge(negotiation, option->number);
		if (negotiation->stage != NEGOTIATION_OVER)
			negotiation->stage = NEGOTIATION_STARTTLS;
	}
}

/* What an option does with its data. */
enum option_data { DATA_NONE, DATA_IGNORED, DATA_READ };

/* Options that are not here are refused with NBD_REP_ERR_UNSUP. */
enum { HANDLERS = 10 };
static const struct handler {
	uint32_t number;
	enum option_data data;
	void (*handle)(struct negotiation *negotiation, const struct option *option);
} handlers[HANDLERS] = {
	{ NBD_OPT_EXPORT_NAME, DATA_READ, negotiation_on_export_name },
	{ NBD_OPT_ABORT, DATA_IGNORED, on_abort },
	{ NBD_OPT_LIST, DATA_NONE, negotiation_on_list },
	{ NBD_OPT_STARTTLS, DATA_NONE, on_starttls },
	{ NBD_OPT_INFO, DATA_READ, negotiation_on_info },
	{ NBD_OPT_GO, DATA_READ, negotiation_on_info },
	{ NBD_OPT_STRUCTURED_REPLY, DATA_NONE, on_structured_reply },
	{ NBD_OPT_LIST_META_CONTEXT, DATA_READ, negotiation_on_list_meta_context },
	{ NBD_OPT_SET_META_CONTEXT, DATA_READ, negotiation_on_set_meta_context },
	{ NBD_OPT_EXTENDED_HEADERS, DATA_NONE, on_extended_headers },
};

static const struct handler *handler_of(const struct option *option)
{
	for (int i = 0; i < HANDLERS; i++)
		if (handlers[i].number == option->number)
			return &handlers[i];
	return NULL;
}

/* proto.md, "FORCEDTLS mode" */
static bool needs_tls(const struct negotiation *negotiation, const struct option *option)
{
	return negotiation->tls == TLS_REQUIRE && !negotiation_is_secure(negotiation) &&
	       option->number != NBD_OPT_STARTTLS && option->number != NBD_OPT_ABORT;
}

static void refuse_plaintext(struct negotiation *negotiation, const struct option *option)
{
	if (option->number == NBD_OPT_EXPORT_NAME)
		negotiation_end(negotiation, CLOSE_tls_required);
	else
		negotiation_refuse(
			negotiation, option->number, NBD_REP_ERR_TLS_REQD, "this server wants TLS first");
}

/* @option->data is there, unless it is longer than OPTION_DATA_MAX. */
static void handle_option(struct negotiation *negotiation, const struct option *option)
{
	const struct handler *handler = handler_of(option);

	if (needs_tls(negotiation, option))
		refuse_plaintext(negotiation, option);
	else if (!handler)
		negotiation_refuse(
			negotiation, option->number, NBD_REP_ERR_UNSUP, "this option is not supported");
	else if (handler->data == DATA_NONE && option->length > 0)
		negotiation_refuse(
			negotiation, option->number, NBD_REP_ERR_INVALID, "this option takes no data");
	else if (handler->data == DATA_READ && option->length > OPTION_DATA_MAX)
		negotiation_refuse(
			negotiation, option->number, NBD_REP_ERR_TOO_BIG, "the option is too long");
	else
		handler->handle(negotiation, option);
}

/* EXPORT_NAME cannot be refused, and the next option would be taken for transmission by a client that went on. */
static void handle_long_option(struct negotiation *negotiation, const struct option *option)
{
	if (option->length > OPTION_SKIP_MAX || option->number == NBD_OPT_EXPORT_NAME) {
		negotiation_end(negotiation, CLOSE_option_length);
		return;
	}
	if (option->number == NBD_OPT_SET_META_CONTEXT)
		negotiation_forget_contexts(negotiation);
	handle_option(negotiation, option);
	if (negotiation->stage == NEGOTIATION_OVER)
		return;
	negotiation->skip_left = option->length;
	negotiation->stage = NEGOTIATION_SKIPPING;
}

/* A client that lists a server asks for more about each of its exports. */
static bool has_asked_enough(const struct negotiation *negotiation)
{
	return negotiation->options >= OPTIONS_MAX + OPTIONS_PER_EXPORT * negotiation->listed;
}

static size_t take_option(struct negotiation *negotiation, const uint8_t *bytes, size_t length)
{
	struct nbd_option_header header;
	struct option option;

	if (length < sizeof(header))
		return 0;
	memcpy(&header, bytes, sizeof(header));
	option.number = be32toh(header.option);
	option.length = be32toh(header.length);
	option.data = bytes + sizeof(header);
	if (be64toh(header.magic) != NBD_OPTION_MAGIC) {
		negotiation_end(negotiation, CLOSE_option_magic);
		return sizeof(header);
	}
	if (option.length <= OPTION_DATA_MAX && length - sizeof(header) < option.length)
		return 0;
	if (has_asked_enough(negotiation)) {
		negotiation_end(negotiation, CLOSE_options_max);
		return sizeof(header);
	}
	negotiation->options++;
	if (option.length > OPTION_DATA_MAX) {
		handle_long_option(negotiation, &option);
		return sizeof(header);
	}
	handle_option(negotiation, &option);
	return sizeof(header) + option.length;
}

static size_t take_client_flags(struct negotiation *negotiation, const uint8_t *bytes, size_t length)
{
	uint32_t flags;

	if (length < sizeof(flags))
		return 0;
	flags = nbd_get32(bytes);
	/* "the server MUST drop the TCP connection if the client sets an unknown flag".  A client without the fixed
	 * newstyle flag may still be served: it asks for nothing but NBD_OPT_EXPORT_NAME. */
	if (flags & ~(uint32_t)(NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES)) {
		negotiation_end(negotiation, CLOSE_client_flags);
	} else if (negotiation->tls == TLS_REQUIRE && !(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
		/* It knows neither STARTTLS nor error replies. */
		negotiation_end(negotiation, CLOSE_tls_required);
	} else {
		/* "The server MUST operate in NOTLS mode unless ... the client replied with
		 * NBD_FLAG_C_FIXED_NEWSTYLE". */
		if (!(flags & NBD_FLAG_FIXED_NEWSTYLE))
			negotiation->tls = TLS_OFF;
		negotiation->no_zeroes = flags & NBD_FLAG_NO_ZEROES;
		negotiation->stage = NEGOTIATION_OPTION;
	}
	return sizeof(flags);
}

static size_t skip(struct negotiation *negotiation, size_t length)
{
	size_t used = length < negotiation->skip_left ? length : negotiation->skip_left;

	negotiation->skip_left -= (uint32_t)used;
	if (negotiation->skip_left == 0)
		negotiation->stage = NEGOTIATION_OPTION;
	return used;
}

size_t negotiation_feed(struct negotiation *negotiation, const uint8_t *bytes, size_t length)
{
	switch (negotiation->stage) {
	case NEGOTIATION_CLIENT_FLAGS:
		return take_client_flags(negotiation, bytes, length);
	case NEGOTIATION_OPTION:
		return take_option(negotiation, bytes, length);
	case NEGOTIATION_SKIPPING:
		return skip(negotiation, length);
	case NEGOTIATION_STARTTLS:
	case NEGOTIATION_TRANSMISSION:
	case NEGOTIATION_OVER:
		break;
	}
	return 0;
}

/* "the server MUST NOT preserve any negotiation state". */
void negotiation_secured(struct negotiation *negotiation)
{
	assert(negotiation->stage == NEGOTIATION_STARTTLS && negotiation_is_secure(negotiation));
	negotiation->headers = HEADERS_SIMPLE;
	negotiation_forget_contexts(negotiation);
	negotiation->stage = NEGOTIATION_OPTION;
}

void negotiation_sent(struct negotiation *negotiation, size_t length)
{
	assert(length <= negotiation->out.length);
	negotiation->out.length -= length;
	memmove(negotiation->out.bytes, negotiation->out.bytes + length, negotiation->out.length);
}

bool negotiation_concerns(const struct negotiation *negotiation, const struct export *export)
{
	return negotiation->export == export ||
	       (negotiation->status_of && strcmp(negotiation->status_of, export->spec.name) == 0);
}

void negotiation_init(struct negotiation *negotiation, const struct exports *exports)
{
	*negotiation = (struct negotiation){ .exports = exports, .stage = NEGOTIATION_CLIENT_FLAGS };
	negotiation_add64(negotiation, NBD_MAGIC);
	negotiation_add64(negotiation, NBD_OPTION_MAGIC);
	negotiation_add16(negotiation, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

void negotiation_fini(struct negotiation *negotiation)
{
	export_put(negotiation->export);
	negotiation->export = NULL;
	negotiation_forget_contexts(negotiation);
	free(negotiation->out.bytes);
	negotiation->out.bytes = NULL;
}
