/* server/fault_print.c -- a rule as text: operations, range, conditions in the order of their rows, clients, what happens. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "server/fault_rule.h"

struct text {
	char *out;
	size_t used;
};

__attribute__((format(printf, 2, 3))) static void put(struct text *text, const char *format, ...)
{
	size_t room = FAULT_RULE_SIZE - text->used;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text->out + text->used, room, format, arguments);
	va_end(arguments);
	text->used += (size_t)length < room ? (size_t)length : room - 1;
}

/* A word for all of them, or one for each. */
static void put_operations(struct text *text, unsigned operations)
{
	for (int i = FAULT_OPERATIONS; i < FAULT_OPERATIONS + FAULT_GROUPS; i++)
		if (fault_operations[i].operations == operations) {
			put(text, "%s", fault_operations[i].word);
			return;
		}
	for (int i = 0; i < FAULT_OPERATIONS; i++)
		if (operations & fault_operations[i].operations)
			put(text, "%s%s", text->used > 0 ? " " : "", fault_operations[i].word);
}

static void put_value(struct text *text, enum fault_value kind, uint64_t value)
{
	char number[FAULT_NUMBER_SIZE];

	if (kind != FAULT_VALUE_NONE)
		put(text, " %s", fault_value_print(kind, value, number));
}

static void put_range(struct text *text, const struct fault_rule *rule)
{
	char from[FAULT_NUMBER_SIZE], to[FAULT_NUMBER_SIZE] = "";

	if (rule->to != UINT64_MAX)
		fault_value_print(FAULT_VALUE_SIZE, rule->to, to);
	put(text, " %s-%s", fault_value_print(FAULT_VALUE_SIZE, rule->from, from), to);
}

/* What would be read as something else without quotes. */
static bool needs_quotes(const char *word)
{
	size_t length = strlen(word);

	return length == 0 || strpbrk(word, " \t") || word[length - 1] == ':';
}

const char *fault_rule_print(const struct fault_rule *rule, char out[FAULT_RULE_SIZE])
{
	struct text text = { .out = out };

	put_operations(&text, rule->operations);
	if (rule->has_range)
		put_range(&text, rule);
	for (int i = 0; i < FAULT_CONDITIONS; i++) {
		if (!fault_rule_has(rule, (enum fault_condition)i) ||
			fault_conditions[i].argument == FAULT_VALUE_TEXT)
			continue;
		put(&text, " %s", fault_conditions[i].word);
		put_value(&text, fault_conditions[i].argument, rule->conditions[i]);
	}
	for (unsigned i = 0; i < rule->client_count; i++) {
		const char *word = rule->clients[i].text, *quote = needs_quotes(word) ? "\"" : "";

		put(&text, " %s %s%s%s", fault_conditions[rule->clients[i].condition].word, quote, word,
			quote);
	}
	put(&text, ": %s", fault_actions[rule->action].words);
	for (int i = 0; i < FAULT_ARGUMENTS; i++)
		put_value(&text, fault_actions[rule->action].arguments[i], rule->arguments[i]);
	return out;
}
