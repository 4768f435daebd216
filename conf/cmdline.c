/* conf/cmdline.c -- getopt_long(3) driven by a table, and the help made of it. */
#include "conf/cmdline.h"

#include <assert.h>
#include <errno.h>
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/log.h"

/* getopt's value of a long option is its row's number above this, beyond any letter. */
#define ROW_BASE    1000
#define ROW_HELP    (ROW_BASE + CMDLINE_OPTIONS_MAX)
#define ROW_VERSION (ROW_HELP + 1)

struct getopt_tables {
	struct option longs[CMDLINE_OPTIONS_MAX + 3];
	char shorts[2 * CMDLINE_OPTIONS_MAX + 3];
};

static void build_tables(const struct cmdline_option *options, struct getopt_tables *tables)
{
	char *letter = tables->shorts;
	int count = 0;

	/* '-': words come in their place among the options; ':': a missing argument is told apart. */
	*letter++ = '-';
	*letter++ = ':';
	for (; options[count].name; count++) {
		const struct cmdline_option *row = &options[count];

		assert(count < CMDLINE_OPTIONS_MAX);
		tables->longs[count] = (struct option){ row->name,
			row->argument ? required_argument : no_argument, NULL, ROW_BASE + count };
		if (!row->letter)
			continue;
		*letter++ = row->letter;
		if (row->argument)
			*letter++ = ':';
	}
	*letter = '\0';
	tables->longs[count++] = (struct option){ "help", no_argument, NULL, ROW_HELP };
	tables->longs[count++] = (struct option){ "version", no_argument, NULL, ROW_VERSION };
	tables->longs[count] = (struct option){ 0 };
}

static void print_indented(const char *text, const char *first, const char *others)
{
	const char *indent = first;

	while (text && *text) {
		size_t length = strcspn(text, "\n");

		printf("%s%.*s\n", indent, (int)length, text);
		text += length + (text[length] == '\n');
		indent = others;
	}
}

static void print_option(const char *name, char letter, const char *argument, const char *help)
{
	if (letter)
		printf("  -%c, ", letter);
	else
		printf("  ");
	printf("--%s%s%s\n", name, argument ? "=" : "", argument ? argument : "");
	print_indented(help, "        ", "        ");
}

static void print_help(const struct cmdline *cmdline)
{
	char first[64];

	snprintf(first, sizeof(first), "Usage: %s ", cmdline->program);
	print_indented(cmdline->synopsis, first, "       ");
	printf("\n");
	print_indented(cmdline->purpose, "", "");
	printf("\nOptions:\n");
	for (const struct cmdline_option *row = cmdline->options; row->name; row++)
		print_option(row->name, row->letter, row->argument, row->help);
	print_option("help", 0, NULL, "Show this and exit.");
	print_option("version", 0, NULL, "Show the version and exit.");
	printf("\n");
	print_indented(cmdline->epilogue, "", "");
}

void cmdline_fail(const struct cmdline *cmdline, const char *format, ...)
{
	char why[CMDLINE_WHY_SIZE];
	va_list args;

	va_start(args, format);
	vsnprintf(why, sizeof(why), format, args);
	va_end(args);
	log_error("%s", why);
	log_error("try '%s --help'", cmdline->program);
	exit(CMDLINE_USAGE_EXIT);
}

static const struct cmdline_option *option_of(const struct cmdline *cmdline, int value)
{
	if (value >= ROW_BASE)
		return &cmdline->options[value - ROW_BASE];
	for (const struct cmdline_option *row = cmdline->options; row->name; row++)
		if (row->letter == value)
			return row;
	return NULL;
}

static void set_option(
	const struct cmdline *cmdline, const struct cmdline_option *row, const char *value, void *settings)
{
	char why[CMDLINE_WHY_SIZE];

	if (row->set(settings, value, why))
		cmdline_fail(cmdline, "--%s%s%s: %s", row->name, value ? " " : "", value ? value : "", why);
}

static void take_word(const struct cmdline *cmdline, const char *word, void *settings)
{
	char why[CMDLINE_WHY_SIZE];

	if (!cmdline->word)
		cmdline_fail(cmdline, "'%s': no such argument is known", word);
	if (cmdline->word(settings, word, why))
		cmdline_fail(cmdline, "'%s': %s", word, why);
}

void cmdline_parse(const struct cmdline *cmdline, int argc, char **argv, void *settings)
{
	const struct cmdline_option *row = NULL;
	struct getopt_tables tables = { 0 };
	int value;

	build_tables(cmdline->options, &tables);
	opterr = 0;
	while ((value = getopt_long(argc, argv, tables.shorts, tables.longs, NULL)) != -1) {
		if (value == 1 && row && row->takes_word && row->takes_word(optarg)) {
			set_option(cmdline, row, optarg, settings);
			continue;
		}
		row = NULL;
		if (value == 1) {
			take_word(cmdline, optarg, settings);
		} else if (value == ROW_HELP) {
			print_help(cmdline);
			exit(EXIT_SUCCESS);
		} else if (value == ROW_VERSION) {
			printf("%s %s\n", cmdline->program, VNBD_VERSION);
			exit(EXIT_SUCCESS);
		} else if (value == ':') {
			cmdline_fail(cmdline, "'%s': the argument is missing", argv[optind - 1]);
		} else if (value == '?' && optopt == 0 && cmdline->takes_options) {
			take_word(cmdline, argv[optind - 1], settings);
		} else if (value == '?' || !(row = option_of(cmdline, value))) {
			cmdline_fail(cmdline,
				"'%s': no such option is known, or it is ambiguous or takes no argument",
				argv[optind - 1]);
		} else {
			set_option(cmdline, row, optarg, settings);
		}
	}
	/* Behind "--" every word is a plain one. */
	while (optind < argc)
		take_word(cmdline, argv[optind++], settings);
}

int cmdline_number(const char *text, unsigned min, unsigned max, unsigned *out, char *why)
{
	unsigned long number;
	char *end;

	errno = 0;
	number = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || number < min || number > max) {
		snprintf(why, CMDLINE_WHY_SIZE, "not a number from %u to %u", min, max);
		return -1;
	}
	*out = (unsigned)number;
	return 0;
}
