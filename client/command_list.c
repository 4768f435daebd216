/* client/command_list.c -- a doubly linked list. */
#include "client/command_list.h"

void command_list_append(struct command_list *list, struct command *command)
{
	command->next = NULL;
	command->previous = list->last;
	if (list->last)
		list->last->next = command;
	else
		list->first = command;
	list->last = command;
}

void command_list_prepend(struct command_list *list, struct command *command)
{
	command->previous = NULL;
	command->next = list->first;
	if (list->first)
		list->first->previous = command;
	else
		list->last = command;
	list->first = command;
}

void command_list_remove(struct command_list *list, struct command *command)
{
	if (command->previous)
		command->previous->next = command->next;
	else
		list->first = command->next;
	if (command->next)
		command->next->previous = command->previous;
	else
		list->last = command->previous;
}

struct command *command_list_take(struct command_list *list)
{
	struct command *command = list->first;

	if (command)
		command_list_remove(list, command);
	return command;
}

void command_list_join(struct command_list *before, struct command_list *list)
{
	if (!before->first)
		return;
	before->last->next = list->first;
	if (list->first)
		list->first->previous = before->last;
	else
		list->last = before->last;
	list->first = before->first;
	before->first = before->last = NULL;
}
