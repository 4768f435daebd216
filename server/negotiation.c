/* server/negotiation.c -- options are rows of a table; each answers into out. */
#include "server/negotiation.h"

#include <assert.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "server/limits.h"
#include "server/meta_query.h"
#include "server/nbd_wire.h"

static_assert(NEGOTIATION_MESSAGE_MAX == sizeof(struct nbd_option_header) + OPTION_DATA_MAX, "");

/* Zeroes behind the reply to NBD_OPT_EXPORT_NAME for clients without NBD_FLAG_C_NO_ZEROES. */
#define EXPORT_NAME_ZEROES 124

static void end(struct negotiation *negotiation, enum close_reason reason)
{
	negotiation->stage = NEGOTIATION_OVER;
	negotiation->close = reason;
}

/* Without memory the reply cannot be given and the connection ends. */
static void out_add(struct negotiation *negotiation, const void *bytes, size_t length)
{
	size_t size = negotiation->out.size ? negotiation->out.size : 512;
	uint8_t *grown;

	if (length == 0 || (negotiation->stage == NEGOTIATION_OVER && negotiation->close == CLOSE_memory))
		return;
	while (size - negotiation->out.length < length)
		size *= 2;
	if (size != negotiation->out.size) {
		grown = realloc(negotiation->out.bytes, size);
		if (!grown) {
			negotiation->out.length = 0;
			end(negotiation, CLOSE_memory);
			return;
		}
		negotiation->out.bytes = grown;
		negotiation->out.size = size;
	}
	memcpy(negotiation->out.bytes + negotiation->out.length, bytes, length);
	negotiation->out.length += length;
}

static void out_add16(struct negotiation *negotiation, uint16_t number)
{
	number = htobe16(number);
	out_add(negotiation, &number, sizeof(number));
}

static void out_add32(struct negotiation *negotiation, uint32_t number)
{
	number = htobe32(number);
	out_add(negotiation, &number, sizeof(number));
}

static void out_add64(struct negotiation *negotiation, uint64_t number)
{
	number = htobe64(number);
	out_add(negotiation, &number, sizeof(number));
}

/* The head of a reply; @length bytes of data have to follow. */
static void reply(struct negotiation *negotiation, uint32_t option, uint32_t type, size_t length)
{
	struct nbd_option_reply_header header = {
		.magic = htobe64(NBD_OPTION_REPLY_MAGIC),
		.option = htobe32(option),
		.type = htobe32(type),
		.length = htobe32((uint32_t)length),
	};

	out_add(negotiation, &header, sizeof(header));
}

static void acknowledge(struct negotiation *negotiation, uint32_t option)
{
	reply(negotiation, option, NBD_REP_ACK, 0);
}

static void refuse(
	struct negotiation *negotiation, uint32_t option, enum nbd_option_error error, const char *why)
{
	reply(negotiation, option, NBD_REP_ERR(error), strlen(why));
	out_add(negotiation, why, strlen(why));
}

/* One option: its number and data. */
struct option {
	uint32_t number, length;
	const uint8_t *data;
};

static void forget_contexts(struct negotiation *negotiation)
{
	free(negotiation->status_of);
	negotiation->status_of = NULL;
	negotiation->contexts = 0;
	negotiation->lineage.identity = 0;
}

/* What it would be with @export. Names tell: a folder's file is another object whenever it is opened. */
static struct dialect dialect_with(const struct negotiation *negotiation, const struct export *export)
{
	const char *selected = negotiation->status_of;

	return (struct dialect){ .headers = negotiation->headers,
		.contexts =
			selected && strcmp(selected, export->spec.name) == 0 ? negotiation->contexts : 0 };
}

/* Takes over the reference to @export. */
static void start_transmission(struct negotiation *negotiation, struct export *export)
{
	if (negotiation->stage == NEGOTIATION_OVER) {
		export_put(export);
		return;
	}
	negotiation->export = export;
	negotiation->dialect = dialect_with(negotiation, export);
	if (negotiation->dialect.contexts & META_BIT(META_VERIFIER) &&
		negotiation->verifier != export_verifier(export))
		end(negotiation, CLOSE_writes_lost);
	else
		negotiation->stage = NEGOTIATION_TRANSMISSION;
}

static bool is_secure(const struct negotiation *negotiation)
{
	return negotiation->who && negotiation->who->tls;
}

/* One that the client may not see is like one that does not exist. */
static struct export *find(const struct negotiation *negotiation, const void *name, size_t length)
{
	struct export *export = exports_find(negotiation->exports, name, length);

	return export && access_allows(&export->spec.access, negotiation->who) ? export : NULL;
}

/* It knows no error reply: "the server MUST terminate the session". */
static void on_export_name(struct negotiation *negotiation, const struct option *option)
{
	static const uint8_t zeroes[EXPORT_NAME_ZEROES];
	struct export *export;

	/* "a client that has [negotiated] extended headers MUST NOT use this option." */
	if (negotiation->headers == HEADERS_EXTENDED) {
		end(negotiation, CLOSE_export_name);
		return;
	}
	if (negotiation->refusal) {
		end(negotiation, CLOSE_fault);
		return;
	}
	export = find(negotiation, option->data, option->length);
	if (export && export->down) {
		end(negotiation, CLOSE_export_down);
		return;
	}
	if (export)
		export = export_get(export, (const char *)option->data, option->length, false);
	if (!export) {
		end(negotiation, CLOSE_export_unknown);
		return;
	}
	disk_measure(export->disk);
	out_add64(negotiation, export->disk->facts.size);
	out_add16(negotiation, export_flags(export, dialect_with(negotiation, export)));
	if (!negotiation->no_zeroes)
		out_add(negotiation, zeroes, sizeof(zeroes));
	start_transmission(negotiation, export);
}

static void on_abort(struct negotiation *negotiation, const struct option *option)
{
	acknowledge(negotiation, option->number);
	end(negotiation, CLOSE_handshake_abort);
}

static void list_name(struct negotiation *negotiation, const struct export *export, const char *name)
{
	const char *description = export->spec.description ? export->spec.description : "";

	reply(negotiation, NBD_OPT_LIST, NBD_REP_SERVER,
		sizeof(uint32_t) + strlen(name) + strlen(description));
	out_add32(negotiation, (uint32_t)strlen(name));
	out_add(negotiation, name, strlen(name));
	out_add(negotiation, description, strlen(description));
}

struct listing {
	struct negotiation *negotiation;
	const struct export *folder;
};

/* Those that another export or folder hides are not listed twice. */
static void list_file(void *context, const char *name)
{
	const struct listing *listing = context;

	if (exports_find(listing->negotiation->exports, name, strlen(name)) == listing->folder)
		list_name(listing->negotiation, listing->folder, name);
}

static void on_list(struct negotiation *negotiation, const struct option *option)
{
	for (const struct export *export = negotiation->exports->first; export; export = export->next) {
		struct listing listing = { negotiation, export };

		if (!access_allows(&export->spec.access, negotiation->who))
			continue;
		if (export->folder)
			export_folder_list(export->folder, list_file, &listing);
		else
			list_name(negotiation, export, export->spec.name);
	}
	acknowledge(negotiation, option->number);
}

static void on_structured_reply(struct negotiation *negotiation, const struct option *option)
{
	/* Extended headers "take precedence over this option". */
	if (negotiation->headers == HEADERS_EXTENDED) {
		refuse(negotiation, option->number, NBD_REP_ERR_EXT_HEADER_REQD,
			"extended headers are negotiated already");
		return;
	}
	negotiation->headers = HEADERS_STRUCTURED;
	acknowledge(negotiation, option->number);
}

static void on_extended_headers(struct negotiation *negotiation, const struct option *option)
{
	negotiation->headers = HEADERS_EXTENDED;
	acknowledge(negotiation, option->number);
}

static void reply_context(struct negotiation *negotiation, uint32_t option, uint32_t id, const char *name)
{
	reply(negotiation, option, NBD_REP_META_CONTEXT, sizeof(id) + strlen(name));
	out_add32(negotiation, id);
	out_add(negotiation, name, strlen(name));
}

/* proto.md, "SELECTIVETLS mode": the answer for an export that needs TLS, and so also for one that does not exist, or a
 * client without TLS could tell the one from the other. */
static void refuse_export(struct negotiation *negotiation, uint32_t option)
{
	if (negotiation->tls == TLS_OFF || is_secure(negotiation))
		refuse(negotiation, option, NBD_REP_ERR_UNKNOWN, "no export of that name");
	else
		refuse(negotiation, option, NBD_REP_ERR_TLS_REQD, "no export of that name without TLS");
}

/* "The requested export is not available." */
static void refuse_down(struct negotiation *negotiation, uint32_t option)
{
	refuse(negotiation, option, NBD_REP_ERR_UNKNOWN, "the export has no power now");
}

/* Returns whether a fault rule has the option refused, whichever export it is about. */
static bool refuse_by_rule(struct negotiation *negotiation, uint32_t option)
{
	if (negotiation->refusal)
		refuse(negotiation, option, negotiation->refusal, "a fault rule refuses this");
	return negotiation->refusal;
}

/* Whether there is a query for an export that exists, or else it was refused. */
static bool take_query(struct negotiation *negotiation, const struct option *option, struct meta_query *query)
{
	const char *why = "structured replies or extended headers have to be negotiated first";
	const struct export *export;

	if (negotiation->headers == HEADERS_SIMPLE ||
		meta_query_parse(option->data, option->length, query, &why)) {
		refuse(negotiation, option->number, NBD_REP_ERR_INVALID, why);
		return false;
	}
	if (refuse_by_rule(negotiation, option->number))
		return false;
	export = find(negotiation, query->name, query->name_length);
	if (export && export->down) {
		refuse_down(negotiation, option->number);
		return false;
	}
	if (export)
		return true;
	/* Never NBD_REP_ERR_TLS_REQD: "SELECTIVETLS mode" has that for INFO and GO alone. */
	refuse(negotiation, option->number, NBD_REP_ERR_UNKNOWN, "no export of that name");
	return false;
}

#define VERIFIER_NAME_SIZE sizeof(NBD_CONTEXT_VERIFIER "0123456789abcdef")

/* The context of the export's verifier, as it is now. Returns 0 where a folder's file cannot be opened; the log tells why. */
static uint64_t name_verifier(
	struct negotiation *negotiation, const struct meta_query *query, char name[VERIFIER_NAME_SIZE])
{
	struct export *export = find(negotiation, query->name, query->name_length);
	uint64_t verifier;

	export = export_get(export, query->name, query->name_length, true);
	if (!export)
		return 0;
	verifier = export_verifier(export);
	export_put(export);
	snprintf(name, VERIFIER_NAME_SIZE, NBD_CONTEXT_VERIFIER "%016" PRIx64, verifier);
	return verifier;
}

static bool asks_for_verifier(const struct meta_query *query, const char *name)
{
	return meta_query_has(query, NBD_CONTEXT_VNBD) || meta_query_has(query, NBD_CONTEXT_VERIFIER) ||
	       meta_query_has(query, name);
}

static void on_list_meta_context(struct negotiation *negotiation, const struct option *option)
{
	char verifier[VERIFIER_NAME_SIZE];
	struct meta_query query;

	if (!take_query(negotiation, option, &query))
		return;
	/* The id "is reserved and SHOULD be set to zero". */
	if (query.count == 0 || meta_query_has(&query, NBD_CONTEXT_ALLOCATION) ||
		meta_query_has(&query, NBD_CONTEXT_BASE))
		reply_context(negotiation, option->number, 0, NBD_CONTEXT_ALLOCATION);
	if ((query.count == 0 || meta_query_has_prefix(&query, NBD_CONTEXT_VNBD)) &&
		name_verifier(negotiation, &query, verifier) &&
		(query.count == 0 || asks_for_verifier(&query, verifier)))
		reply_context(negotiation, option->number, 0, verifier);
	acknowledge(negotiation, option->number);
}

static void select_context(struct negotiation *negotiation, const struct option *option,
	enum meta_context context, const char *name)
{
	negotiation->contexts |= META_BIT(context);
	reply_context(negotiation, option->number, context, name);
}

/* It is told in a query that selects nothing. */
static void take_lineage(struct negotiation *negotiation, const struct meta_query *query)
{
	uint32_t length;
	const char *text = meta_query_behind(query, NBD_CONTEXT_SESSION, &length);

	if (text)
		lineage_parse(text, length, &negotiation->lineage);
}

static void on_set_meta_context(struct negotiation *negotiation, const struct option *option)
{
	char verifier[VERIFIER_NAME_SIZE];
	struct meta_query query;

	/* It "replaces all previously-set metadata contexts (including when this command fails)". */
	forget_contexts(negotiation);
	if (!take_query(negotiation, option, &query))
		return;
	if (meta_query_has(&query, NBD_CONTEXT_ALLOCATION))
		select_context(negotiation, option, META_ALLOCATION, NBD_CONTEXT_ALLOCATION);
	take_lineage(negotiation, &query);
	if (meta_query_has_prefix(&query, NBD_CONTEXT_VNBD)) {
		negotiation->verifier = name_verifier(negotiation, &query, verifier);
		if (negotiation->verifier && asks_for_verifier(&query, verifier))
			select_context(negotiation, option, META_VERIFIER, verifier);
	}
	if (negotiation->contexts) {
		negotiation->status_of = strndup(query.name, query.name_length);
		if (!negotiation->status_of) {
			end(negotiation, CLOSE_memory);
			return;
		}
	}
	acknowledge(negotiation, option->number);
}

int info_request_parse(const uint8_t *data, uint32_t length, struct info_request *out, const char **why)
{
	/* The length of the name in front, the number of information requests behind it. */
	const uint32_t around_name = sizeof(uint32_t) + sizeof(uint16_t);
	const uint8_t *infos;
	uint32_t count;

	*out = (struct info_request){ 0 };
	*why = "the option is too short";
	if (length < around_name)
		return -EINVAL;
	out->name = (const char *)data + sizeof(uint32_t);
	out->name_length = nbd_get32(data);
	*why = "the export name reaches past the option";
	if (out->name_length > length - around_name)
		return -EINVAL;
	*why = "the export name is longer than 4096 bytes";
	if (out->name_length > NBD_STRING_MAX)
		return -EINVAL;
	infos = data + sizeof(uint32_t) + out->name_length;
	count = nbd_get16(infos);
	*why = "the option's length and its number of information requests differ";
	if (length - around_name - out->name_length != count * sizeof(uint16_t))
		return -EINVAL;
	for (uint32_t i = 1; i <= count; i++) {
		uint16_t info = nbd_get16(infos + i * sizeof(uint16_t));

		if (info <= NBD_INFO_BLOCK_SIZE)
			out->wanted |= 1u << info;
	}
	return 0;
}

static void info_export(struct negotiation *negotiation, uint32_t option, const struct export *export)
{
	reply(negotiation, option, NBD_REP_INFO, sizeof(uint16_t) + sizeof(uint64_t) + sizeof(uint16_t));
	out_add16(negotiation, NBD_INFO_EXPORT);
	disk_measure(export->disk);
	out_add64(negotiation, export->disk->facts.size);
	out_add16(negotiation, export_flags(export, dialect_with(negotiation, export)));
}

static void info_text(struct negotiation *negotiation, uint32_t option, enum nbd_info info, const char *text)
{
	reply(negotiation, option, NBD_REP_INFO, sizeof(uint16_t) + strlen(text));
	out_add16(negotiation, (uint16_t)info);
	out_add(negotiation, text, strlen(text));
}

static void info_block_size(struct negotiation *negotiation, uint32_t option, const struct export *export)
{
	const struct disk_facts *facts = &export->disk->facts;
	/* "The preferred block size ... at least as large as the maximum of the minimum block size and 2^9". */
	uint32_t preferred = facts->block_size_preferred < 512 ? 512 : facts->block_size_preferred;

	reply(negotiation, option, NBD_REP_INFO, sizeof(uint16_t) + 3 * sizeof(uint32_t));
	out_add16(negotiation, NBD_INFO_BLOCK_SIZE);
	out_add32(negotiation, facts->block_size_min);
	out_add32(negotiation, preferred);
	out_add32(negotiation, facts->data_max);
}

static void on_info(struct negotiation *negotiation, const struct option *option)
{
	bool chooses = option->number == NBD_OPT_GO;
	struct info_request request;
	struct export *export;
	const char *why;

	if (info_request_parse(option->data, option->length, &request, &why)) {
		refuse(negotiation, option->number, NBD_REP_ERR_INVALID, why);
		return;
	}
	if (refuse_by_rule(negotiation, option->number))
		return;
	export = find(negotiation, request.name, request.name_length);
	if (!export) {
		refuse_export(negotiation, option->number);
		return;
	}
	if (export->down) {
		refuse_down(negotiation, option->number);
		return;
	}
	export = export_get(export, request.name, request.name_length, !chooses);
	if (!export) {
		refuse(negotiation, option->number, NBD_REP_ERR_UNKNOWN,
			"the export cannot be opened now; the server's log tells why");
		return;
	}
	info_export(negotiation, option->number, export);
	if (request.wanted & 1u << NBD_INFO_NAME)
		info_text(negotiation, option->number, NBD_INFO_NAME, export->spec.name);
	if (request.wanted & 1u << NBD_INFO_DESCRIPTION && export->spec.description)
		info_text(negotiation, option->number, NBD_INFO_DESCRIPTION, export->spec.description);
	if (request.wanted & 1u << NBD_INFO_BLOCK_SIZE)
		info_block_size(negotiation, option->number, export);
	acknowledge(negotiation, option->number);
	if (chooses)
		start_transmission(negotiation, export);
	else
		export_put(export);
}

static void on_starttls(struct negotiation *negotiation, const struct option *option)
{
	if (negotiation->tls == TLS_OFF) {
		refuse(negotiation, option->number, NBD_REP_ERR_POLICY, "this server has no TLS");
	} else if (is_secure(negotiation)) {
		refuse(negotiation, option->number, NBD_REP_ERR_INVALID, "this is TLS already");
	} else {
		acknowledge(negotiation, option->number);
		if (negotiation->stage != NEGOTIATION_OVER)
			negotiation->stage = NEGOTIATION_STARTTLS;
	}
}

/* Options that are not here are refused with NBD_REP_ERR_UNSUP. */
enum { HANDLERS = 10 };
static const struct {
	uint32_t number;
	bool takes_data; /* without it, data is an error */
	void (*handle)(struct negotiation *negotiation, const struct option *option);
} handlers[HANDLERS] = {
	{ NBD_OPT_EXPORT_NAME, true, on_export_name },
	{ NBD_OPT_ABORT, true, on_abort },
	{ NBD_OPT_LIST, false, on_list },
	{ NBD_OPT_STARTTLS, false, on_starttls },
	{ NBD_OPT_INFO, true, on_info },
	{ NBD_OPT_GO, true, on_info },
	{ NBD_OPT_STRUCTURED_REPLY, false, on_structured_reply },
	{ NBD_OPT_LIST_META_CONTEXT, true, on_list_meta_context },
	{ NBD_OPT_SET_META_CONTEXT, true, on_set_meta_context },
	{ NBD_OPT_EXTENDED_HEADERS, false, on_extended_headers },
};

/* proto.md, "FORCEDTLS mode" */
static bool needs_tls(const struct negotiation *negotiation, const struct option *option)
{
	return negotiation->tls == TLS_REQUIRE && !is_secure(negotiation) &&
	       option->number != NBD_OPT_STARTTLS && option->number != NBD_OPT_ABORT;
}

static void refuse_plaintext(struct negotiation *negotiation, const struct option *option)
{
	if (option->number == NBD_OPT_EXPORT_NAME)
		end(negotiation, CLOSE_tls_required);
	else
		refuse(negotiation, option->number, NBD_REP_ERR_TLS_REQD, "this server wants TLS first");
}

static void handle_option(struct negotiation *negotiation, const struct option *option)
{
	if (needs_tls(negotiation, option)) {
		refuse_plaintext(negotiation, option);
		return;
	}
	for (int i = 0; i < HANDLERS; i++) {
		if (handlers[i].number != option->number)
			continue;
		if (option->length > 0 && !handlers[i].takes_data)
			refuse(negotiation, option->number, NBD_REP_ERR_INVALID, "this option takes no data");
		else
			handlers[i].handle(negotiation, option);
		return;
	}
	refuse(negotiation, option->number, NBD_REP_ERR_UNSUP, "this option is not supported");
}

/* EXPORT_NAME cannot be refused, and the next option would be taken for transmission by a client that went on. */
static void refuse_long_option(struct negotiation *negotiation, const struct option *option)
{
	if (option->length > OPTION_SKIP_MAX || option->number == NBD_OPT_EXPORT_NAME) {
		end(negotiation, CLOSE_option_length);
		return;
	}
	if (option->number == NBD_OPT_SET_META_CONTEXT)
		forget_contexts(negotiation);
	if (needs_tls(negotiation, option))
		refuse_plaintext(negotiation, option);
	else
		refuse(negotiation, option->number, NBD_REP_ERR_TOO_BIG, "the option is too long");
	negotiation->skip_left = option->length;
	negotiation->stage = NEGOTIATION_SKIPPING;
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
		end(negotiation, CLOSE_option_magic);
		return sizeof(header);
	}
	if (option.length <= OPTION_DATA_MAX && length - sizeof(header) < option.length)
		return 0;
	if (++negotiation->options > OPTIONS_MAX) {
		end(negotiation, CLOSE_options_max);
		return sizeof(header);
	}
	if (option.length > OPTION_DATA_MAX) {
		refuse_long_option(negotiation, &option);
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
		end(negotiation, CLOSE_client_flags);
	} else if (negotiation->tls == TLS_REQUIRE && !(flags & NBD_FLAG_FIXED_NEWSTYLE)) {
		/* It knows neither STARTTLS nor error replies. */
		end(negotiation, CLOSE_tls_required);
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
	assert(negotiation->stage == NEGOTIATION_STARTTLS && is_secure(negotiation));
	negotiation->headers = HEADERS_SIMPLE;
	forget_contexts(negotiation);
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
	out_add64(negotiation, NBD_MAGIC);
	out_add64(negotiation, NBD_OPTION_MAGIC);
	out_add16(negotiation, NBD_FLAG_FIXED_NEWSTYLE | NBD_FLAG_NO_ZEROES);
}

void negotiation_fini(struct negotiation *negotiation)
{
	export_put(negotiation->export);
	negotiation->export = NULL;
	forget_contexts(negotiation);
	free(negotiation->out.bytes);
	negotiation->out.bytes = NULL;
}
