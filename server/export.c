/* server/export.c -- opens exports and tells what they can do. */
#include "server/export.h"

#include <errno.h>
#include <inttypes.h>
#include <search.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cache/disk_memory.h"
#include "cache/volatile.h"
#include "conf/container.h"
#include "conf/log.h"
#include "conf/size.h"
#include "server/limits.h"
#include "server/nbd_wire.h"
#include "server/recording.h"

/* How much of an export's name a line of the log shows. */
#define NAME_SHOWN 256

void exports_init(struct exports *exports)
{
	*exports = (struct exports){ 0 };
	exports->last = &exports->first;
}

static void export_free(struct export *export)
{
	disk_free(export->disk);
	disk_free(export->record);
	fault_set_fini(&export->faults);
	export_folder_free(export->folder);
	export_spec_fini(&export->spec);
	free(export);
}

/* The keys are in the exports. */
static void keep(void *name)
{
	(void)name;
}

void exports_fini(struct exports *exports)
{
	struct export *next;

	tdestroy(exports->names, keep);
	for (struct export *export = exports->first; export; export = next) {
		next = export->next;
		export_free(export);
	}
	exports_init(exports);
}

static void announce_volatile(const struct export *export)
{
	char name[NAME_SHOWN], size[32];

	if (export->volatile_disk)
		log_info("export '%s' has a volatile cache of %s, for power cuts to lose",
			log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
			size_text(export->spec.volatile_bytes, size, sizeof(size)));
}

static void announce(const struct export *export)
{
	char name[NAME_SHOWN], size[32];

	if (export->folder) {
		log_info("exports are the files in %s (cache=%s%s)", export->spec.path,
			cache_mode_name(export->spec.mode), export->spec.readonly ? ", readonly" : "");
		return;
	}
	if (export->spec.memory_size) {
		log_info("export '%s' is %s of memory, which are lost when the server ends",
			log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
			size_text(export->spec.memory_size, size, sizeof(size)));
		return;
	}
	if (export->spec.has_overlay) {
		log_info("export '%s' is %s (%s), and what is written to it is %s%s",
			log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
			export->spec.path, size_text(export->disk->facts.size, size, sizeof(size)),
			export->spec.overlay ? "in " : "lost when the server ends",
			export->spec.overlay ? export->spec.overlay : "");
		return;
	}
	log_info("export '%s' is %s (%s, cache=%s%s)",
		log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
		export->spec.path, size_text(export->disk->facts.size, size, sizeof(size)),
		cache_mode_name(export->spec.mode), export->spec.readonly ? ", readonly" : "");
}

/* So that nobody forgets it. */
static void warn_of_faults(const struct export *export)
{
	char name[NAME_SHOWN];

	if (export->spec.fault_count > 0)
		log_warning("export '%s' fails as its %u fault rule%s",
			log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
			export->spec.fault_count, export->spec.fault_count > 1 ? "s say" : " says");
}

static int open_memory(const struct export_spec *spec, struct disk **out, char *why, size_t why_size)
{
	int error = disk_memory_open(spec->memory_size, out);

	if (error)
		snprintf(why, why_size, "%s: %s", spec->path, strerror(-error));
	return error;
}

static void tell_size(struct export *export, uint64_t size)
{
	char name[NAME_SHOWN], text[32];

	log_info("export '%s' has %s to %s",
		log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
		size > export->size_told ? "grown" : "shrunk", size_text(size, text, sizeof(text)));
	export->size_told = size;
}

/* Those that have lost writes. They are told when no folder is locked: whoever hears of it may put a reference. */
struct losses_seen {
	struct export *first;
};

static void tell_loss(struct export *export)
{
	char name[NAME_SHOWN];

	log_error("export '%s' may have lost writes that were acknowledged; its connections end, its "
		  "verifier is "
		  "%016" PRIx64,
		log_quote(name, sizeof(name), export->spec.name, strlen(export->spec.name)),
		export_verifier(export));
}

static void look_at_size(struct export *export)
{
	uint64_t size;

	disk_measure(export->disk);
	size = export->disk->facts.size;
	if (size != export->size_told)
		tell_size(export, size);
}

static void look_at_loss(struct losses_seen *seen, struct export *export)
{
	if (export->loss_told || !disk_has_lost(export->disk))
		return;
	export->loss_told = true;
	export->users++;
	export->next_lost = seen->first;
	seen->first = export;
}

static bool is_in_use(const struct export *export)
{
	return atomic_load_explicit(&export->connections, memory_order_relaxed) > 0;
}

/* It is not closed meanwhile. */
static void look_at_file(void *seen, struct export *export)
{
	look_at_size(export);
	look_at_loss(seen, export);
}

static void look_at_disk(struct losses_seen *seen, struct export *export)
{
	if (is_in_use(export))
		look_at_size(export);
	look_at_loss(seen, export);
}

/* Who chooses one of these learns its size anyway. */
static void look_at_idle_sizes(struct exports *exports)
{
	struct export *export = exports->sized ? exports->sized : exports->first;

	for (unsigned i = 0; export && i < MEASURE_IDLE_MAX; i++, export = export->next)
		if (!export->folder && !is_in_use(export))
			look_at_size(export);
	exports->sized = export;
}

void exports_measure(
	struct exports *exports, void (*lost)(void *context, struct export *export), void *context)
{
	struct losses_seen seen = { NULL };

	for (struct export *export = exports->first; export; export = export->next) {
		if (export->folder)
			export_folder_for_each(export->folder, look_at_file, &seen);
		else
			look_at_disk(&seen, export);
	}
	for (struct export *export = seen.first, *next; export; export = next) {
		next = export->next_lost;
		tell_loss(export);
		lost(context, export);
	}
	look_at_idle_sizes(exports);
}

uint64_t export_verifier(const struct export *export)
{
	return verifier_value(&export->verifier, export->disk);
}

static int compare_names(const void *a, const void *b)
{
	const struct export_name *one = a, *other = b;

	if (one->length != other->length)
		return one->length < other->length ? -1 : 1;
	return memcmp(one->bytes, other->bytes, one->length);
}

static struct export *find_disk(const struct exports *exports, const char *name, size_t length)
{
	struct export_name key = { name, length };
	struct export_name *const *found = tfind(&key, &exports->names, compare_names);

	return found ? container_of(*found, struct export, name) : NULL;
}

static int insert_name(struct exports *exports, struct export *export)
{
	struct export_name *const *known;

	export->name = (struct export_name){ export->spec.name, strlen(export->spec.name) };
	known = tsearch(&export->name, &exports->names, compare_names);
	if (!known)
		return -ENOMEM;
	return *known == &export->name ? 0 : -EEXIST;
}

int exports_insert(struct exports *exports, struct export *export)
{
	int error = export->folder ? 0 : insert_name(exports, export);

	if (error)
		return error;
	*exports->last = export;
	exports->last = &export->next;
	return 0;
}

/* What is below the mode. */
static int open_below(const struct export_spec *spec, struct disk **out, char *why, size_t why_size)
{
	if (spec->memory_size)
		return open_memory(spec, out, why, why_size);
	if (spec->has_overlay)
		return cache_open_overlay(spec->path, spec->overlay, spec->mode, out, why, why_size);
	return cache_open_below(spec->path, spec->mode, spec->readonly, out, why, why_size);
}

/* The file whose flushed data a power cut may lose; NULL: nobody expects to find any after one. */
static const char *file_written(const struct export_spec *spec)
{
	if (spec->memory_size)
		return NULL;
	return spec->has_overlay ? spec->overlay : spec->path;
}

/* Puts the volatile cache above @below, if there is to be one. */
static int add_volatile(struct export *export, struct disk **below)
{
	int error;

	if (!export->spec.volatile_bytes)
		return 0;
	error = volatile_open(*below, export->spec.volatile_bytes, &export->volatile_disk);
	if (error)
		disk_free(*below);
	else
		*below = export->volatile_disk;
	return error;
}

static int open_disk(struct export *export, char *why, size_t why_size)
{
	const struct export_spec *spec = &export->spec;
	struct disk *below;
	int error = open_below(spec, &below, why, why_size);

	if (error)
		return error;
	error = add_volatile(export, &below);
	if (!error)
		error = cache_apply(spec->mode, below, file_written(spec), &export->disk);
	if (error)
		snprintf(why, why_size, "%s: %s", spec->path, strerror(-error));
	return error;
}

int export_inject(struct export *export, const struct export_spec *spec, char *why, size_t why_size)
{
	for (unsigned i = 0; i < spec->fault_count; i++) {
		int id = fault_set_add(&export->faults, spec->faults[i], why, why_size);

		if (id < 0)
			return id;
	}
	return 0;
}

static int export_open(const struct exports *exports, struct export *export, char *why, size_t why_size)
{
	const struct export_spec *spec = &export->spec;
	int error;

	if (spec->is_folder)
		return export_folder_new(spec->path, &export->folder, why, why_size);
	if (find_disk(exports, spec->name, strlen(spec->name))) {
		snprintf(why, why_size, "there is one of that name already");
		return -EEXIST;
	}
	error = open_disk(export, why, why_size);
	if (!error)
		error = export_inject(export, spec, why, why_size);
	if (!error && spec->record)
		error = recording_start(export, spec->record, why, why_size);
	if (error)
		return error;
	export->size_told = export->disk->facts.size;
	verifier_init(&export->verifier, &export->disk->facts);
	return 0;
}

int exports_add(struct exports *exports, struct export_spec *spec, char *why, size_t why_size)
{
	struct export *export = calloc(1, sizeof(*export));
	char name[NAME_SHOWN];
	int error, prefix;

	if (!export) {
		export_spec_fini(spec);
		snprintf(why, why_size, "out of memory");
		return -ENOMEM;
	}
	export->spec = *spec;
	*spec = (struct export_spec){ 0 };
	fault_set_init(&export->faults, export->spec.name);
	prefix = export->spec.is_folder ? snprintf(why, why_size, "export folder: ")
					: snprintf(why, why_size, "export '%s': ",
						  log_quote(name, sizeof(name), export->spec.name,
							  strlen(export->spec.name)));
	if ((size_t)prefix >= why_size)
		prefix = 0;
	error = export_open(exports, export, why + prefix, why_size - (size_t)prefix);
	if (error) {
		export_free(export);
		return error;
	}
	error = exports_insert(exports, export);
	if (error) {
		snprintf(why + prefix, why_size - (size_t)prefix, "%s", strerror(-error));
		export_free(export);
		return error;
	}
	announce(export);
	announce_volatile(export);
	warn_of_faults(export);
	return 0;
}

struct export *exports_find(const struct exports *exports, const char *name, size_t length)
{
	struct export *found = find_disk(exports, name, length);

	for (struct export *export = exports->first; export && !found; export = export->next)
		if (export->folder && export_folder_has(export->folder, name, length))
			found = export;
	return found;
}

struct export *export_get(struct export *export, const char *name, size_t length, bool looks)
{
	if (!export->folder)
		return export;
	return export_folder_open(export->folder, &export->spec, name, length, looks);
}

void export_put(struct export *export)
{
	if (export && export->home)
		export_folder_close(export);
}

uint16_t export_flags(const struct export *export, struct dialect dialect)
{
	const struct disk_facts *facts = &export->disk->facts;
	uint16_t flags = NBD_FLAG_HAS_FLAGS;

	if (facts->readonly)
		flags |= NBD_FLAG_READ_ONLY;
	if (facts->can_flush)
		flags |= NBD_FLAG_SEND_FLUSH;
	if (facts->can_fua)
		flags |= NBD_FLAG_SEND_FUA;
	if (facts->rotational)
		flags |= NBD_FLAG_ROTATIONAL;
	if (facts->can_trim)
		flags |= NBD_FLAG_SEND_TRIM;
	if (facts->can_zero)
		flags |= NBD_FLAG_SEND_WRITE_ZEROES;
	if (facts->can_zero && facts->can_fast_zero)
		flags |= NBD_FLAG_SEND_FAST_ZERO;
	if (facts->can_cache)
		flags |= NBD_FLAG_SEND_CACHE;
	if (facts->can_multi_conn)
		flags |= NBD_FLAG_CAN_MULTI_CONN;
	if (dialect.headers != HEADERS_SIMPLE)
		flags |= NBD_FLAG_SEND_DF;
	if (dialect.headers == HEADERS_EXTENDED && dialect.contexts)
		flags |= NBD_FLAG_BLOCK_STATUS_PAYLOAD;
	return flags;
}
