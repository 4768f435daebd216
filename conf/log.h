/* conf/log.h -- one line a message on stderr, for an operator who reads it at 3 a.m.
 *
 * A line is "PROGRAM: [level: ][NAME: ]text"; errors are written as "vnbd-server: error: ...".  A message names the
 * file, export, peer and errno it is about.  Bytes that came from a peer are printed through log_quote().
 * Any thread may log; a line is one write(2), so lines never mix.
 *
 * A reader that stalls (a pager, a journal that hangs, a program that never reads its child's pipe) does not stop us: a
 * line waits for it for LOG_WAIT_MS once, the following ones do not wait, and are counted instead. The next that finds room
 * comes behind their number.
 */
#pragma once

#include <stdarg.h>
#include <stddef.h>

enum log_level { LOG_ERROR, LOG_WARNING, LOG_INFO, LOG_DEBUG, LOG_LEVELS };

/* A longer line is cut: what a peer can make us write is bounded. */
#define LOG_LINE_MAX 1024

/* Long enough for a reader that is only slow, as when thousands of exports are told at the start. */
#define LOG_WAIT_MS 500

/* Set once at start-up, before the first thread: the program's name and the most talkative level shown. */
void log_open(const char *program, enum log_level most);

/* Lines of this thread begin with @name, where a process does several jobs; NULL: no name. borrowed: outlives the thread.
 * log_thread_name() is what was set last. */
void log_name_thread(const char *name);
const char *log_thread_name(void);

__attribute__((format(printf, 2, 3))) void log_line(enum log_level level, const char *format, ...);

#define log_error(...)	 log_line(LOG_ERROR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_info(...)	 log_line(LOG_INFO, __VA_ARGS__)

/* Arguments are not evaluated when debugging is off. */
#define log_debug(...) (log_shows(LOG_DEBUG) ? log_line(LOG_DEBUG, __VA_ARGS__) : (void)0)

int log_shows(enum log_level level);

/* log_quote() - copy @length bytes of @bytes to @out, a string of at most @out_size bytes with its NUL, where every
 * byte that is not printable ASCII, and the backslash, stands as \xNN; "..." ends what did not fit.
 * Returns @out. */
const char *log_quote(char *out, size_t out_size, const char *bytes, size_t length);
