/* client/command_list.h -- commands in order; a command is in one list at most. */
#pragma once

#include "client/command.h"

struct command_list {
	struct command *first, *last; /* borrowed: the link's pool holds them */
};

void command_list_append(struct command_list *list, struct command *command);
void command_list_prepend(struct command_list *list, struct command *command);
void command_list_remove(struct command_list *list, struct command *command);

/* Takes the first command out; NULL: there is none. */
struct command *command_list_take(struct command_list *list);

/* Moves all of @before ahead of @list. */
void command_list_join(struct command_list *before, struct command_list *list);
