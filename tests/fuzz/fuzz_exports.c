/* Configuration files of vnbd-server, of any bytes: exports that are complete, or a reason with a line. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "server/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int set(void *settings, const char *value, char *why)
{
	(void)settings;
	(void)why;
	return value && !*value ? abort(), -1 : 0;
}

static const struct cmdline_option options[] = {
	{ "listen", 0, "ADDRESS", "", set, NULL },
	{ "tls", 0, "MODE", "", set, NULL },
	{ "verbose", 0, NULL, "", set, NULL },
	{ 0 },
};

static int add_export(void *settings, struct export_spec *spec, char *why)
{
	(void)settings;
	(void)why;
	if (!spec->path || !*spec->path || !spec->name || (spec->is_folder && *spec->name))
		abort();
	export_spec_fini(spec);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const struct config_taker taker = { options, NULL, add_export };
	struct config config = { .text = malloc(size + 1) };
	char why[INI_WHY_SIZE];

	memcpy(config.text, data, size);
	config.text[size] = '\0';
	if (config_parse("f", config.text, size, &taker, &config, why) &&
		(strncmp(why, "f:", 2) != 0 || strlen(why) >= sizeof(why)))
		abort();
	config_fini(&config);
	return 0;
}
