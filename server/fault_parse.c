/* server/fault_parse.c -- cuts a rule into words, and looks each up in the tables. */
#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/size.h"
#include "server/fault_rule.h"

#define WORDS_MAX (FAULT_RULE_MAX / 2 + 1)

struct word {
	char *text;	 /* in the reader's copy */
	unsigned column; /* in the rule, from 1 on */
	bool quoted;
};

struct reader {
	char copy[FAULT_RULE_MAX + 2];
	struct word words[WORDS_MAX + 1]; /* the last is the end: its text is empty */
	unsigned count, at;
	unsigned colon; /* the word that follows it */
	unsigned end;	/* of the part that is being read */
	char *why;
	size_t why_size;
};

/* Always -EINVAL. */
__attribute__((format(printf, 3, 4))) static int refuse(
	struct reader *reader, unsigned column, const char *format, ...)
{
	va_list arguments;
	int prefix = snprintf(reader->why, reader->why_size, "column %u: ", column);

	if ((size_t)prefix >= reader->why_size)
		return -EINVAL;
	va_start(arguments, format);
	vsnprintf(reader->why + prefix, reader->why_size - (size_t)prefix, format, arguments);
	va_end(arguments);
	return -EINVAL;
}

/* Words. */

static bool is_space(char c)
{
	return c == ' ' || c == '\t';
}

static char *skip_spaces(char *text)
{
	while (is_space(*text))
		text++;
	return text;
}

/* From @from on. Returns what is behind it, or NULL where a quote does not end. */
static char *cut_word(struct reader *reader, char *from)
{
	struct word *word = &reader->words[reader->count];
	char *end;

	/* Each takes two bytes at least. */
	assert(reader->count < WORDS_MAX);
	*word = (struct word){ .text = from, .column = (unsigned)(from - reader->copy) + 1 };
	if (*from == '"') {
		word->text = from + 1;
		word->quoted = true;
		end = strchr(word->text, '"');
		if (!end)
			return NULL;
	} else {
		end = from + strcspn(from, " \t");
	}
	reader->count++;
	if (*end == '\0')
		return end;
	*end = '\0';
	return end + 1;
}

/* Whether the last word ends with a colon, which is cut away, or is a quote that is followed by one. @next: what is behind the
 * word. */
static bool take_colon(struct reader *reader, char **next)
{
	struct word *word = &reader->words[reader->count - 1];
	size_t length = strlen(word->text);

	if (word->quoted) {
		if (**next != ':' || ((*next)[1] && !is_space((*next)[1])))
			return false;
		++*next;
		return true;
	}
	if (word->text[length - 1] != ':')
		return false;
	word->text[length - 1] = '\0';
	if (length == 1)
		reader->count--;
	return true;
}

static int check_bytes(struct reader *reader, const char *text, size_t length)
{
	if (length > FAULT_RULE_MAX)
		return refuse(reader, FAULT_RULE_MAX + 1, "a rule has %d bytes at most", FAULT_RULE_MAX);
	for (size_t i = 0; i < length; i++)
		if (iscntrl((unsigned char)text[i]) && text[i] != '\t')
			return refuse(reader, (unsigned)i + 1, "a rule is one line of text");
	return 0;
}

static int cut(struct reader *reader, const char *text)
{
	size_t length = strlen(text);
	int error = check_bytes(reader, text, length);
	bool colon = false;
	char *next;

	if (error)
		return error;
	memcpy(reader->copy, text, length + 1);
	for (next = skip_spaces(reader->copy); *next; next = skip_spaces(next)) {
		next = cut_word(reader, next);
		if (!next)
			return refuse(reader, reader->words[reader->count].column, "the quote does not end");
		if (!colon && take_colon(reader, &next)) {
			colon = true;
			reader->colon = reader->count;
		}
	}
	reader->words[reader->count] = (struct word){ .text = next, .column = (unsigned)length + 1 };
	if (!colon)
		return refuse(reader, (unsigned)length + 1, "': ' and what is to happen are missing");
	return 0;
}

static const struct word *here(const struct reader *reader)
{
	return &reader->words[reader->at];
}

/* Lists for messages. */

struct list {
	char text[1024];
	size_t used;
};

static void list_add(struct list *list, const char *words, enum fault_value first, enum fault_value second)
{
	const char *one = fault_value_sign(first), *other = fault_value_sign(second);
	int length = snprintf(list->text + list->used, sizeof(list->text) - list->used, "%s%s%s%s%s%s",
		list->used > 0 ? ", " : "", words, *one ? " " : "", one, *other ? " " : "", other);

	if (length > 0 && (size_t)length < sizeof(list->text) - list->used)
		list->used += (size_t)length;
}

static int refuse_condition(struct reader *reader, const struct word *word)
{
	struct list known = { .used = 0 };

	for (int i = 0; i < FAULT_OPERATIONS + FAULT_GROUPS; i++)
		list_add(&known, fault_operations[i].word, FAULT_VALUE_NONE, FAULT_VALUE_NONE);
	list_add(&known, "FROM-TO", FAULT_VALUE_NONE, FAULT_VALUE_NONE);
	for (int i = 0; i < FAULT_CONDITIONS; i++)
		list_add(&known, fault_conditions[i].word, fault_conditions[i].argument, FAULT_VALUE_NONE);
	return refuse(reader, word->column, "'%s' is not an operation or condition; known: %s", word->text,
		known.text);
}

static int refuse_action(struct reader *reader)
{
	struct list known = { .used = 0 };

	for (int i = 0; i < FAULT_ACTIONS; i++)
		list_add(&known, fault_actions[i].words, fault_actions[i].arguments[0],
			fault_actions[i].arguments[1]);
	return refuse(reader, here(reader)->column, "'%s' is nothing that can happen; known: %s",
		here(reader)->text, known.text);
}

/* When. */

/* Returns how many rows it found: 0 or 1. */
static int take_operation(struct reader *reader, struct fault_rule *rule)
{
	for (int i = 0; i < FAULT_OPERATIONS + FAULT_GROUPS; i++)
		if (strcmp(here(reader)->text, fault_operations[i].word) == 0) {
			rule->operations |= fault_operations[i].operations;
			reader->at++;
			return 1;
		}
	return 0;
}

/* @text: its digits and their unit alone. */
static int parse_bound(const char *text, size_t length, uint64_t *out)
{
	char bound[32];

	if (length >= sizeof(bound))
		return -EINVAL;
	memcpy(bound, text, length);
	bound[length] = '\0';
	return size_parse(bound, out);
}

static int parse_range(const char *text, uint64_t *from, uint64_t *to)
{
	size_t length = strcspn(text, "-+");
	const char *rest = text + length;

	if (!*rest || parse_bound(text, length, from))
		return -EINVAL;
	*to = UINT64_MAX;
	if (strcmp(rest, "-") == 0)
		return 0;
	if (parse_bound(rest + 1, strlen(rest + 1), to))
		return -EINVAL;
	if (*rest == '+')
		*to += *from; /* both are up to INT64_MAX */
	return *from < *to && *to <= INT64_MAX ? 0 : -EINVAL;
}

static int take_range(struct reader *reader, struct fault_rule *rule)
{
	if (rule->has_range)
		return refuse(reader, here(reader)->column, "a second range");
	if (parse_range(here(reader)->text, &rule->from, &rule->to))
		return refuse(reader, here(reader)->column,
			"'%s' is not FROM-TO, FROM- or FROM+LENGTH, in bytes or with K, M, G or T, with FROM "
			"below TO",
			here(reader)->text);
	rule->has_range = true;
	reader->at++;
	return 0;
}

/* Without them it could not be printed as what reads the same, if it has a quote within. */
static bool lacks_quotes(const struct word *word)
{
	size_t length = strlen(word->text);

	return !word->quoted && length > 0 && word->text[length - 1] == ':';
}

static int add_client(struct reader *reader, struct fault_rule *rule, enum fault_condition condition)
{
	static const enum access_kind kinds[FAULT_CONDITIONS] = {
		[FAULT_IF_from] = ACCESS_ADDRESS,
		[FAULT_IF_cert] = ACCESS_NAME,
		[FAULT_IF_subject] = ACCESS_SUBJECT,
		[FAULT_IF_psk] = ACCESS_PSK,
	};
	const struct word *word = here(reader);
	int error;

	if (rule->client_count == FAULT_CLIENTS_MAX)
		return refuse(reader, word->column, "more than %d clients", FAULT_CLIENTS_MAX);
	if (lacks_quotes(word))
		return refuse(reader, word->column, "a text with a colon at its end stands in double quotes");
	error = access_add(&rule->access, kinds[condition], word->text);
	if (error == -EINVAL)
		return refuse(reader, word->column, "'%s' is not %s", word->text,
			condition == FAULT_IF_from ? "an address, ADDRESS/BITS or 'unix'" : "a name");
	if (error)
		return error;
	rule->clients[rule->client_count].condition = condition;
	rule->clients[rule->client_count].text = strdup(word->text);
	if (!rule->clients[rule->client_count].text)
		return -ENOMEM;
	rule->client_count++;
	reader->at++;
	return 0;
}

static bool has_limit(const struct fault_rule *rule)
{
	for (int i = 0; i < FAULT_CONDITIONS; i++)
		if (fault_conditions[i].limits && fault_rule_has(rule, (enum fault_condition)i))
			return true;
	return false;
}

/* Returns 0 where @condition, whose word is at @column, may be given. */
static int note_condition(
	struct reader *reader, struct fault_rule *rule, enum fault_condition condition, unsigned column)
{
	const struct fault_condition_row *row = &fault_conditions[condition];

	if (fault_rule_has(rule, condition) && row->argument != FAULT_VALUE_TEXT)
		return refuse(reader, column, "'%s' is given twice", row->word);
	if (row->limits && has_limit(rule))
		return refuse(reader, column, "once, times and always exclude each other");
	rule->given |= 1u << condition;
	return 0;
}

/* Whether the value that the condition wants is next, and if so, takes it. */
static bool take_value(struct reader *reader, enum fault_value kind, uint64_t *out)
{
	if (kind == FAULT_VALUE_NONE)
		return true;
	if (reader->at >= reader->end || here(reader)->quoted ||
		fault_value_parse(kind, here(reader)->text, out))
		return false;
	reader->at++;
	return true;
}

/* What the rows of this word want. */
static int refuse_value(struct reader *reader, const char *word, enum fault_value kind)
{
	const char *got = reader->at < reader->end ? here(reader)->text : "";

	return refuse(reader, here(reader)->column, "'%s' wants %s, %s; not '%s'", word,
		fault_value_sign(kind), fault_value_words(kind), got);
}

/* The first row of this word whose value is next; -1: there is none. @last: gets a row of this word, or -1. */
static int find_condition(struct reader *reader, const struct word *word, uint64_t *value, int *last)
{
	*last = -1;
	for (int i = 0; i < FAULT_CONDITIONS; i++) {
		const struct fault_condition_row *row = &fault_conditions[i];

		if (strcmp(word->text, row->word) != 0)
			continue;
		*last = i;
		if (row->argument == FAULT_VALUE_TEXT ? reader->at < reader->end
						      : take_value(reader, row->argument, value))
			return i;
	}
	return -1;
}

static int take_condition(struct reader *reader, struct fault_rule *rule)
{
	const struct word *word = here(reader);
	uint64_t value = 0;
	int last, found, error;

	reader->at++;
	found = find_condition(reader, word, &value, &last);
	if (last < 0)
		return refuse_condition(reader, word);
	if (found < 0)
		return refuse_value(reader, word->text, fault_conditions[last].argument);
	error = note_condition(reader, rule, (enum fault_condition)found, word->column);
	if (error)
		return error;
	rule->conditions[found] = value;
	if (fault_conditions[found].argument == FAULT_VALUE_TEXT)
		return add_client(reader, rule, (enum fault_condition)found);
	return 0;
}

static int take_when(struct reader *reader, struct fault_rule *rule)
{
	reader->end = reader->colon;
	while (reader->at < reader->end) {
		int error = 0;

		if (here(reader)->quoted)
			return refuse_condition(reader, here(reader));
		if (isdigit((unsigned char)*here(reader)->text))
			error = take_range(reader, rule);
		else if (!take_operation(reader, rule))
			error = take_condition(reader, rule);
		if (error)
			return error;
	}
	return 0;
}

/* What. */

/* How many words of @row stand here; 0: not all of them. */
static unsigned count_words(const struct reader *reader, const char *words)
{
	unsigned count = 0;

	while (*words) {
		size_t length = strcspn(words, " ");
		const struct word *word = &reader->words[reader->at + count];

		if (reader->at + count >= reader->count || word->quoted || strlen(word->text) != length ||
			memcmp(word->text, words, length) != 0)
			return 0;
		count++;
		words += length + (words[length] == ' ');
	}
	return count;
}

/* Takes the words of the row that is meant. Returns whether there is one. */
static bool take_action(struct reader *reader, struct fault_rule *rule)
{
	unsigned most = 0;

	for (int i = 0; i < FAULT_ACTIONS; i++) {
		unsigned count = count_words(reader, fault_actions[i].words);
		bool named = rule->operations & fault_actions[i].operations;

		if (count > most || (count > 0 && count == most && named)) {
			most = count;
			rule->action = (enum fault_action)i;
		}
	}
	reader->at += most;
	return most > 0;
}

static int take_what(struct reader *reader, struct fault_rule *rule)
{
	reader->end = reader->count;
	if (!take_action(reader, rule))
		return refuse_action(reader);
	for (int i = 0; i < FAULT_ARGUMENTS; i++) {
		enum fault_value kind = fault_actions[rule->action].arguments[i];

		if (!take_value(reader, kind, &rule->arguments[i]))
			return refuse_value(reader, fault_actions[rule->action].words, kind);
	}
	if (reader->at < reader->count)
		return refuse(
			reader, here(reader)->column, "'%s' is more than there can be", here(reader)->text);
	return 0;
}

/* Both together. */

/* The words of some operations. */
static const char *operation_words(unsigned operations, struct list *out)
{
	for (int i = 0; i < FAULT_OPERATIONS; i++)
		if (operations & fault_operations[i].operations)
			list_add(out, fault_operations[i].word, FAULT_VALUE_NONE, FAULT_VALUE_NONE);
	return out->text;
}

static int settle_operations(struct reader *reader, struct fault_rule *rule)
{
	const struct fault_action_row *row = &fault_actions[rule->action];
	struct list known = { .used = 0 }, wrong = { .used = 0 };

	if (!rule->operations)
		rule->operations = row->operations & FAULT_ON_REQUESTS;
	if (!rule->operations)
		rule->operations = row->operations;
	if (rule->operations & ~row->operations)
		return refuse(reader, reader->words[reader->colon].column, "'%s' is for %s, not for %s",
			row->words, operation_words(row->operations, &known),
			operation_words(rule->operations & ~row->operations, &wrong));
	return 0;
}

/* A connection that has no export has neither bytes nor, as yet, a name. */
static int check_clients(struct reader *reader, const struct fault_rule *rule)
{
	const unsigned names = 1u << FAULT_IF_cert | 1u << FAULT_IF_subject | 1u << FAULT_IF_psk;

	if (!(rule->operations & FAULT_ON_CLIENTS))
		return 0;
	if (rule->operations & FAULT_ON_REQUESTS)
		return refuse(reader, 1, "accept and handshake do not go together with requests");
	if (rule->has_range)
		return refuse(reader, 1, "accept and handshake are about no bytes");
	if (rule->given & names)
		return refuse(reader, 1, "nothing but the address is known before a client has an export");
	return 0;
}

static int check_arguments(struct reader *reader, const struct fault_rule *rule)
{
	if (rule->action == FAULT_DO_delay_uniform && rule->arguments[0] > rule->arguments[1])
		return refuse(reader, reader->words[reader->colon].column,
			"'%s' wants the shorter time first", fault_actions[rule->action].words);
	return 0;
}

static int check_allowed(struct reader *reader, const struct fault_rule *rule, unsigned allowed)
{
	if (!(rule->operations & ~allowed))
		return 0;
	return refuse(reader, 1, "%s",
		allowed & FAULT_ON_REQUESTS ? "accept and handshake are not an export's: --fault"
					    : "without an export there are only accept and handshake");
}

static int parse(struct reader *reader, const char *text, unsigned allowed, struct fault_rule *rule)
{
	int error = cut(reader, text);

	if (!error)
		error = take_when(reader, rule);
	if (!error)
		error = take_what(reader, rule);
	if (!error)
		error = settle_operations(reader, rule);
	if (!error)
		error = check_clients(reader, rule);
	if (!error)
		error = check_allowed(reader, rule, allowed);
	return error ? error : check_arguments(reader, rule);
}

int fault_rule_parse(const char *text, unsigned allowed, struct fault_rule *rule, char *why, size_t why_size)
{
	struct reader reader = { .why = why, .why_size = why_size };
	int error;

	*rule = (struct fault_rule){ 0 };
	snprintf(why, why_size, "out of memory");
	error = parse(&reader, text, allowed, rule);
	if (error)
		fault_rule_fini(rule);
	return error;
}

void fault_rule_fini(struct fault_rule *rule)
{
	for (unsigned i = 0; i < rule->client_count; i++)
		free(rule->clients[i].text);
	access_fini(&rule->access);
	*rule = (struct fault_rule){ 0 };
}
