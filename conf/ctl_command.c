/* conf/ctl_command.c -- the rows, and words held against their usages. */
#include "conf/ctl_command.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/cmdline.h"

const struct ctl_command ctl_commands[] = {
	{ "exports", "exports", "List the exports, and how many connections use them.",
		{ .columns = { { "name", "EXPORT", CTL_PLAIN }, { "size", "SIZE", CTL_BYTES },
			  { "cache", "CACHE", CTL_PLAIN }, { "readonly", "READONLY", CTL_PLAIN },
			  { "down", "DOWN", CTL_PLAIN }, { "connections", "CONNECTIONS", CTL_PLAIN },
			  { "path", "PATH", CTL_PLAIN } } } },
	{ "connections", "connections", "List the clients that use an export.",
		{ .columns = { { "number", "NUMBER", CTL_PLAIN }, { "export", "EXPORT", CTL_PLAIN },
			  { "since", "SINCE", CTL_TIME }, { "peer", "CLIENT", CTL_PLAIN } } } },
	{ "fault add [EXPORT] RULE", "fault-add",
		"Add a fault rule, vnbd-fault(7), to an export or the server.",
		{ .sentence = "added as {id}" } },
	{ "fault list [EXPORT]", "fault-list", "List the fault rules, and how often each was met and obeyed.",
		{ .columns = { { "id", "ID", CTL_PLAIN }, { "export", "EXPORT", CTL_PLAIN },
			  { "matched", "MATCHED", CTL_PLAIN }, { "fired", "FIRED", CTL_PLAIN },
			  { "rule", "RULE", CTL_PLAIN } } } },
	{ "fault remove [EXPORT] ID", "fault-remove", "Remove one fault rule.", { 0 } },
	{ "fault clear [EXPORT]", "fault-clear", "Remove the fault rules of an export, or all of them.",
		{ 0 } },
	{ "fault release [EXPORT] [ID]", "fault-release",
		"Let go what stalls by an export's rules, or by one.", { 0 } },
	{ "powercut EXPORT [--keep=none|all|random] [--torn[=512|4096]] [--seed=N] [--down=SECONDS]",
		"powercut",
		"Lose what an export with volatile= holds and has not flushed, as a power cut does.",
		{ .sentence = "kept {kept}, lost {lost}, tore {torn} of the unflushed writes, by seed "
			      "{seed}; the write verifier is {verifier} now; power is back after {down} "
			      "s" } },
	{ "record EXPORT start FILE", "record-start",
		"Record every request of an export in FILE of the server's.",
		{ .sentence = "records into {file}" } },
	{ "record EXPORT stop", "record-stop", "End the record of an export.",
		{ .sentence = "{file} has {requests} requests in {bytes} bytes" } },
	{ "version", "version", "Tell which server answers.",
		{ .sentence = "{program} {version}, process {pid}" } },
	{ "help", "help", "List what the server can be asked.",
		{ .columns = { { "command", "COMMAND", CTL_PLAIN }, { "arguments", "ARGUMENTS", CTL_PLAIN },
			  { "help", "HELP", CTL_PLAIN } } } },
	{ 0 },
};

enum kind { TEXT, NUMBER, SECONDS };

static const struct argument {
	const char *word; /* of a usage */
	const char *name; /* in JSON */
	enum kind kind;
	const char *bare; /* what an option without a value stands for; NULL: it needs one */
} argument_rows[] = {
	{ "EXPORT", "export", TEXT, NULL },
	{ "RULE", "rule", TEXT, NULL },
	{ "ID", "id", NUMBER, NULL },
	{ "FILE", "file", TEXT, NULL },
	{ "--keep", "keep", TEXT, NULL },
	{ "--torn", "torn", NUMBER, "512" },
	{ "--seed", "seed", NUMBER, NULL },
	{ "--down", "down", SECONDS, NULL },
	{ 0 },
};

/* -- usages ------------------------------------------------------------------------------------------------------- */

/* One word of a usage, brackets and all. */
struct token {
	const char *text;
	size_t length;
	bool optional, option;
};

static bool next_token(const char **usage, struct token *token)
{
	*usage += strspn(*usage, " ");
	token->text = *usage;
	token->length = strcspn(*usage, " ");
	*usage += token->length;
	token->optional = token->text[0] == '[';
	if (token->optional) {
		token->text++;
		token->length -= 2;
	}
	token->option = token->length > 0 && token->text[0] == '-';
	return token->length > 0;
}

static bool is_literal(const struct token *token)
{
	return islower((unsigned char)token->text[0]);
}

/* The row whose word is the first @length bytes of @text; NULL: there is none. */
static const struct argument *argument_named(const char *text, size_t length)
{
	for (const struct argument *row = argument_rows; row->word; row++)
		if (strlen(row->word) == length && memcmp(row->word, text, length) == 0)
			return row;
	return NULL;
}

static bool has_option(const char *usage, const struct argument *option)
{
	struct token token;
	size_t length = strlen(option->word);

	while (next_token(&usage, &token))
		if (token.option && token.length > length && memcmp(token.text, option->word, length) == 0 &&
			strchr("=[", token.text[length]))
			return true;
	return false;
}

/* -- values ------------------------------------------------------------------------------------------------------- */

static json_t *number_of(const char *text)
{
	char *end;
	long long number;

	errno = 0;
	number = strtoll(text, &end, 10);
	return isdigit((unsigned char)*text) && !*end && !errno ? json_integer(number) : NULL;
}

static json_t *seconds_of(const char *text)
{
	size_t length = strspn(text, "0123456789.");
	char *end;
	double seconds = strtod(text, &end);

	/* No sign, exponent or hexadecimal digits. */
	return length > 0 && length < 20 && end == text + length && !*end ? json_real(seconds) : NULL;
}

static int set(json_t *arguments, const struct argument *row, const char *value, char *why)
{
	json_t *json = row->kind == NUMBER    ? number_of(value)
		       : row->kind == SECONDS ? seconds_of(value)
					      : json_string(value);

	if (json && json_object_get(arguments, row->name)) {
		json_decref(json);
		snprintf(why, CMDLINE_WHY_SIZE, "%s is given twice", row->word);
		return -1;
	}
	if (json && json_object_set_new(arguments, row->name, json) == 0)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "%s: not %s: '%s'", row->word,
		row->kind == NUMBER    ? "a number"
		: row->kind == SECONDS ? "a number of seconds"
				       : "text in UTF-8",
		value);
	return -1;
}

/* -- words -------------------------------------------------------------------------------------------------------- */

static bool is_option(const char *word)
{
	return word[0] == '-' && word[1] == '-';
}

/* Whether the plain words have each of a usage's literals in its place; of @first, the first of them alone. */
static bool has_literals(const char *usage, const char *const *words, unsigned count, bool first)
{
	struct token token;

	for (unsigned at = 0; next_token(&usage, &token); at++) {
		if (!is_literal(&token))
			continue;
		if (at >= count || strlen(words[at]) != token.length ||
			memcmp(words[at], token.text, token.length) != 0)
			return false;
		if (first)
			return true;
	}
	return true;
}

/* Those that begin alike. */
static void list_usages(const char *const *words, unsigned count, char *why)
{
	size_t used = 0;

	snprintf(why, CMDLINE_WHY_SIZE, "there is no such command: '%s'", count > 0 ? words[0] : "");
	for (const struct ctl_command *row = ctl_commands; row->usage; row++)
		if (has_literals(row->usage, words, count, true) && used < CMDLINE_WHY_SIZE)
			used += (size_t)snprintf(why + used, CMDLINE_WHY_SIZE - used, "%s vnbdctl %s",
				used > 0 ? ", or" : "usage:", row->usage);
}

static const struct ctl_command *find(const char *const *words, unsigned count, char *why)
{
	for (const struct ctl_command *row = ctl_commands; row->usage; row++)
		if (has_literals(row->usage, words, count, false))
			return row;
	list_usages(words, count, why);
	return NULL;
}

static unsigned count_needed(const char *usage)
{
	struct token token;
	unsigned needed = 0;

	while (next_token(&usage, &token))
		needed += !token.optional;
	return needed;
}

static int take_words(const struct ctl_command *command, const char *const *words, unsigned count,
	json_t *arguments, char *why)
{
	unsigned needed = count_needed(command->usage), at = 0;
	unsigned spare = count > needed ? count - needed : 0;
	const char *usage = command->usage;
	struct token token;

	while (count >= needed && at < count && next_token(&usage, &token)) {
		if (token.option || (token.optional && spare == 0))
			continue;
		spare -= token.optional;
		if (!is_literal(&token) &&
			set(arguments, argument_named(token.text, token.length), words[at], why))
			return -1;
		at++;
	}
	if (count >= needed && at == count)
		return 0;
	snprintf(why, CMDLINE_WHY_SIZE, "usage: vnbdctl %s", command->usage);
	return -1;
}

/* An option in words[@at], with its value there or in the next word, which is then taken as well. */
static int take_option(const struct ctl_command *command, const char *const *words, unsigned count,
	unsigned *at, json_t *arguments, char *why)
{
	const char *word = words[*at], *equals = strchr(word, '=');
	const struct argument *row = argument_named(word, equals ? (size_t)(equals - word) : strlen(word));

	if (!row || !has_option(command->usage, row)) {
		snprintf(why, CMDLINE_WHY_SIZE, "no such option is known here: '%s'; usage: vnbdctl %s", word,
			command->usage);
		return -1;
	}
	if (equals)
		return set(arguments, row, equals + 1, why);
	if (row->bare)
		return set(arguments, row, row->bare, why);
	if (*at + 1 < count)
		return set(arguments, row, words[++*at], why);
	snprintf(why, CMDLINE_WHY_SIZE, "'%s': the argument is missing", word);
	return -1;
}

/* The plain words up to the first option are enough to tell the command: options come behind its first words. */
static unsigned count_plain(const char *const *words, unsigned count)
{
	unsigned plain = 0;

	while (plain < count && !is_option(words[plain]))
		plain++;
	return plain;
}

static int take_all(const struct ctl_command *command, const char *const *words, unsigned count,
	json_t *arguments, char *why)
{
	const char *plain[CTL_WORDS_MAX];
	unsigned plain_count = 0;

	for (unsigned at = 0; at < count; at++) {
		if (!is_option(words[at]))
			plain[plain_count++] = words[at];
		else if (take_option(command, words, count, &at, arguments, why))
			return -1;
	}
	return take_words(command, plain, plain_count, arguments, why);
}

const struct ctl_command *ctl_command_find(
	const char *const *words, unsigned count, json_t **arguments, char *why)
{
	const struct ctl_command *command = find(words, count_plain(words, count), why);

	assert(count <= CTL_WORDS_MAX);
	if (!command)
		return NULL;
	*arguments = json_object();
	snprintf(why, CMDLINE_WHY_SIZE, "out of memory");
	if (*arguments && take_all(command, words, count, *arguments, why) == 0)
		return command;
	json_decref(*arguments);
	*arguments = NULL;
	return NULL;
}
