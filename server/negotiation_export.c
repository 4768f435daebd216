/* server/negotiation_export.c -- the options about exports: which there are, what they are, and which it is to be. */
#include "server/negotiation_parts.h"

#include <string.h>

#include "conf/utf8.h"
#include "server/info_request.h"

/* Zeroes behind the reply to NBD_OPT_EXPORT_NAME for clients without NBD_FLAG_C_NO_ZEROES. */
#define EXPORT_NAME_ZEROES 124

struct export *negotiation_find(const struct negotiation *negotiation, const void *name, size_t length)
{
	struct export *export = exports_find(negotiation->exports, name, length);

	return export && access_allows(&export->spec.access, negotiation->who) ? export : NULL;
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
		negotiation_end(negotiation, CLOSE_writes_lost);
	else
		negotiation->stage = NEGOTIATION_TRANSMISSION;
}

/* It knows no error reply: "the server MUST terminate the session". */
void negotiation_on_export_name(struct negotiation *negotiation, const struct option *option)
{
	static const uint8_t zeroes[EXPORT_NAME_ZEROES];
	struct export *export;

	/* "a client that has [negotiated] extended headers MUST NOT use this option." */
	if (negotiation->headers == HEADERS_EXTENDED) {
		negotiation_end(negotiation, CLOSE_export_name);
		return;
	}
	if (negotiation->refusal) {
		negotiation_end(negotiation, CLOSE_fault);
		return;
	}
	export = negotiation_find(negotiation, option->data, option->length);
	if (export && export->down) {
		negotiation_end(negotiation, CLOSE_export_down);
		return;
	}
	if (export)
		export = export_get(export, (const char *)option->data, option->length, false);
	if (!export) {
		negotiation_end(negotiation, CLOSE_export_unknown);
		return;
	}
	disk_measure(export->disk);
	negotiation_add64(negotiation, export->disk->facts.size);
	negotiation_add16(negotiation, export_flags(export, dialect_with(negotiation, export)));
	if (!negotiation->no_zeroes)
		negotiation_add(negotiation, zeroes, sizeof(zeroes));
	start_transmission(negotiation, export);
}

/* One that is not UTF-8 can be chosen by who knows it. */
static void list_name(struct negotiation *negotiation, const struct export *export, const char *name)
{
	const char *description = export->spec.description ? export->spec.description : "";

	if (!utf8_is_text(name, strlen(name)))
		return;
	negotiation->listed++;
	negotiation_reply(negotiation, NBD_OPT_LIST, NBD_REP_SERVER,
		sizeof(uint32_t) + strlen(name) + strlen(description));
	negotiation_add32(negotiation, (uint32_t)strlen(name));
	negotiation_add(negotiation, name, strlen(name));
	negotiation_add(negotiation, description, strlen(description));
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

void negotiation_on_list(struct negotiation *negotiation, const struct option *option)
{
	negotiation->listed = 0;
	for (const struct export *export = negotiation->exports->first; export; export = export->next) {
		struct listing listing = { negotiation, export };

		if (!access_allows(&export->spec.access, negotiation->who))
			continue;
		if (export->folder)
			export_folder_list(export->folder, list_file, &listing);
		else
			list_name(negotiation, export, export->spec.name);
	}
	negotiation_acknowledge(negotiation, option->number);
}

/* proto.md, "SELECTIVETLS mode": the answer for an export that needs TLS, and so also for one that does not exist, or a
 * client without TLS could tell the one from the other. */
static void refuse_export(struct negotiation *negotiation, uint32_t option)
{
	if (negotiation->tls == TLS_OFF || negotiation_is_secure(negotiation))
		negotiation_refuse(negotiation, option, NBD_REP_ERR_UNKNOWN, "no export of that name");
	else
		negotiation_refuse(
			negotiation, option, NBD_REP_ERR_TLS_REQD, "no export of that name without TLS");
}

void negotiation_refuse_down(struct negotiation *negotiation, uint32_t option)
{
	negotiation_refuse(negotiation, option, NBD_REP_ERR_UNKNOWN, "the export has no power now");
}

bool negotiation_refuse_by_rule(struct negotiation *negotiation, uint32_t option)
{
	if (negotiation->refusal)
		negotiation_refuse(negotiation, option, negotiation->refusal, "a fault rule refuses this");
	return negotiation->refusal;
}

static void info_export(struct negotiation *negotiation, uint32_t option, const struct export *export)
{
	negotiation_reply(
		negotiation, option, NBD_REP_INFO, sizeof(uint16_t) + sizeof(uint64_t) + sizeof(uint16_t));
	negotiation_add16(negotiation, NBD_INFO_EXPORT);
	disk_measure(export->disk);
	negotiation_add64(negotiation, export->disk->facts.size);
	negotiation_add16(negotiation, export_flags(export, dialect_with(negotiation, export)));
}

static void info_text(struct negotiation *negotiation, uint32_t option, enum nbd_info info, const char *text)
{
	negotiation_reply(negotiation, option, NBD_REP_INFO, sizeof(uint16_t) + strlen(text));
	negotiation_add16(negotiation, (uint16_t)info);
	negotiation_add(negotiation, text, strlen(text));
}

static void info_block_size(struct negotiation *negotiation, uint32_t option, const struct export *export)
{
	const struct disk_facts *facts = &export->disk->facts;
	/* "The preferred block size ... at least as large as the maximum of the minimum block size and 2^9". */
	uint32_t preferred = facts->block_size_preferred < 512 ? 512 : facts->block_size_preferred;

	negotiation_reply(negotiation, option, NBD_REP_INFO, sizeof(uint16_t) + 3 * sizeof(uint32_t));
	negotiation_add16(negotiation, NBD_INFO_BLOCK_SIZE);
	negotiation_add32(negotiation, facts->block_size_min);
	negotiation_add32(negotiation, preferred);
	negotiation_add32(negotiation, facts->data_max);
}

void negotiation_on_info(struct negotiation *negotiation, const struct option *option)
{
	bool chooses = option->number == NBD_OPT_GO;
	struct info_request request;
	struct export *export;
	const char *why;

	if (info_request_parse(option->data, option->length, &request, &why)) {
		negotiation_refuse(negotiation, option->number, NBD_REP_ERR_INVALID, why);
		return;
	}
	if (negotiation_refuse_by_rule(negotiation, option->number))
		return;
	export = negotiation_find(negotiation, request.name, request.name_length);
	if (!export) {
		refuse_export(negotiation, option->number);
		return;
	}
	if (export->down) {
		negotiation_refuse_down(negotiation, option->number);
		return;
	}
	export = export_get(export, request.name, request.name_length, !chooses);
	if (!export) {
		negotiation_refuse(negotiation, option->number, NBD_REP_ERR_UNKNOWN,
			"the export cannot be opened now; the server's log tells why");
		return;
	}
	info_export(negotiation, option->number, export);
	if (request.wanted & 1u << NBD_INFO_NAME &&
		utf8_is_text(export->spec.name, strlen(export->spec.name)))
		info_text(negotiation, option->number, NBD_INFO_NAME, export->spec.name);
	if (request.wanted & 1u << NBD_INFO_DESCRIPTION && export->spec.description)
		info_text(negotiation, option->number, NBD_INFO_DESCRIPTION, export->spec.description);
	if (request.wanted & 1u << NBD_INFO_BLOCK_SIZE)
		info_block_size(negotiation, option->number, export);
	negotiation_acknowledge(negotiation, option->number);
	if (chooses)
		start_transmission(negotiation, export);
	else
		export_put(export);
}
