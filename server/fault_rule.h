/* server/fault_rule.h -- one fault rule as an operator writes it, one line: WHEN... : WHAT
 *
 *   write 1M-2M every 3 once: error EIO
 *   read p 0.01 seed 7: delay normal 20ms 5ms
 *   any from 10.0.0.7 after 30s: blackhole
 *
 * WHEN, in any order: operations (the rows of server/fault_words.def; "data" is read and write, "any" every request), of
 * which those named are meant; one byte range, FROM-TO (TO is the first byte behind), FROM- or FROM+LENGTH; and conditions,
 * each once, but from, cert, subject and psk as often as needed. Without an operation, all that WHAT is for are meant.
 * The colon is followed by a space. A text with spaces, or with a colon at its end, stands in double quotes.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "server/access.h"
#include "server/fault_words.h"

/* Bytes of the text that is read, at most; of the text that is printed, with its NUL: units and what was left out make it
 * longer. And texts in it that name clients. */
#define FAULT_RULE_MAX	  384
#define FAULT_RULE_SIZE	  512
#define FAULT_CLIENTS_MAX 8

struct fault_rule {
	unsigned operations; /* bits */
	bool has_range;
	uint64_t from, to; /* bytes; to: the first behind the range, UINT64_MAX without an end */
	unsigned given;	   /* bits: 1 << enum fault_condition */
	uint64_t conditions[FAULT_CONDITIONS];
	/* Who is meant, as conditions in the order they were given, and as what decides; without any: everybody. */
	struct {
		enum fault_condition condition;
		char *text; /* owned */
	} clients[FAULT_CLIENTS_MAX];
	unsigned client_count;
	struct access access; /* owned */
	enum fault_action action;
	uint64_t arguments[FAULT_ARGUMENTS];
};

static inline bool fault_rule_has(const struct fault_rule *rule, enum fault_condition condition)
{
	return rule->given & 1u << condition;
}

/* fault_rule_parse() - read @text into @rule, to be given to fault_rule_fini().
 * @allowed: operations that it may be about, bits: FAULT_ON_REQUESTS for an export's, FAULT_ON_CLIENTS for the server's, or
 * both.
 * Returns 0; or -EINVAL or -ENOMEM with the reason in @why, "column N: ..." where it is in the text, and nothing in @rule that
 * has to be freed. */
int fault_rule_parse(const char *text, unsigned allowed, struct fault_rule *rule, char *why, size_t why_size);
void fault_rule_fini(struct fault_rule *rule);

/* fault_rule_print() - the rule in its one canonical form: what fault_rule_parse() makes of it prints the same.
 * Returns @out. */
const char *fault_rule_print(const struct fault_rule *rule, char out[FAULT_RULE_SIZE]);
