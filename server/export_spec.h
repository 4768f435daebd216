/* server/export_spec.h -- an export as an operator writes it: NAME=PATH[,cache=MODE][,readonly][,overlay=FILE]
 *  [,volatile=on][,record=FILE][,description=TEXT][,fault=RULE]...[,tls][,allow-address=RANGE]...[,allow-cert=NAME]...[,allow-subject=DN]...[,allow-psk=USER]...
 *
 * NAME is what stands before the first '='; it may be empty, for the default export. In PATH and values a comma is
 * written twice. A PATH of memory:SIZE (conf/size.h) is memory, which has neither cache= nor readonly; a file of such a
 * name is written with "./" in front. An overlay's FILE of "temporary" is none that is kept, likewise; a directory's files,
 * memory and what is readonly have no overlays. The volatile cache, of the default or a given size, is for everything but
 * directories and what is readonly. A directory's files are not recorded.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cache/cache.h"
#include "server/access.h"

struct export_spec {
	char *name, *path; /* owned */
	char *description; /* owned; NULL: none */
	enum cache_mode mode;
	bool readonly;
	bool has_overlay;
	char *overlay;		 /* owned; its file, or NULL: a temporary one */
	char *record;		 /* owned; the file that its requests are written to; NULL: none */
	uint64_t memory_size;	 /* bytes; 0: a file or device at path */
	uint64_t volatile_bytes; /* room of its volatile cache; 0: it has none */
	bool is_folder;		 /* path's files are exports; name is empty */
	struct access access;	 /* owned */
	unsigned keys_told;	 /* bits: rows of the table of keys, while it is read */
	char **faults; /* owned, with their texts: rules that were understood (server/fault_rule.h) */
	unsigned fault_count;
};

/* export_spec_parse() - read @text into @spec, to be given to export_spec_fini().
 * Returns 0; or -EINVAL or -ENOMEM with the reason in @why and nothing in @spec that has to be freed. */
int export_spec_parse(const char *text, struct export_spec *spec, char *why, size_t why_size);

/* export_spec_parse_folder() - as export_spec_parse(), of a folder: PATH and the same keys, which are for all its files. */
int export_spec_parse_folder(const char *text, struct export_spec *spec, char *why, size_t why_size);

/* export_spec_file() - the default export: @path as it stands, writeback, writable. Returns 0 or -ENOMEM. */
int export_spec_file(const char *path, struct export_spec *spec);

/* One key after the other, in any order, as a file tells them: export_spec_begin(), one export_spec_place(),
 * export_spec_set() for each key, export_spec_finish(). Each returns 0, or -EINVAL or -ENOMEM with the reason in @why; then, too,
 * @spec is to be given to export_spec_fini(). */
int export_spec_begin(const char *name, struct export_spec *spec, char *why, size_t why_size);

/* @path: as it stands, commas and all. A folder has no name of its own. */
int export_spec_place(struct export_spec *spec, const char *path, bool is_folder, char *why, size_t why_size);

/* @value NULL: the key stands alone, as it does if it is a flag. */
int export_spec_set(struct export_spec *spec, const char *key, const char *value, char *why, size_t why_size);
bool export_spec_key_is_flag(const char *key);
int export_spec_finish(const struct export_spec *spec, char *why, size_t why_size);

void export_spec_fini(struct export_spec *spec);
