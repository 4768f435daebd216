/* conf/socket.h -- a listening Unix socket at a path that may have a past: for virtual machine monitors, for operators. */
#pragma once

#include <stddef.h>
#include <sys/types.h>

struct socket_path {
	const char *path; /* borrowed: the command line; NULL: nothing is to be removed */
	dev_t device;	  /* of the file that we made, so that nobody else's is removed */
	ino_t inode;
};

/* socket_listen() - make a socket at @path and listen. A file that a dead process left there is replaced; one that
 * somebody listens at is not, nor any other kind of file. @mode: of the file from its first moment on, less the umask:
 * connecting takes the right to write.
 * Returns the descriptor (non-blocking, close-on-exec), and in @made what socket_remove() takes; or -1 and the reason
 * in @why (@why_size bytes). */
int socket_listen(const char *path, mode_t mode, struct socket_path *made, char *why, size_t why_size);

/* socket_check() - whether socket_listen() would not be refused for what is at @path now; nothing is made. For who has something to do
 * before that others would notice. Returns 0, or -1 and the reason in @why. */
int socket_check(const char *path, char *why, size_t why_size);

/* socket_adopt() - check that @fd, which came from our parent, is a listening Unix stream socket; make it non-blocking
 * and close-on-exec. Returns 0, or -1 and the reason in @why. */
int socket_adopt(int fd, char *why, size_t why_size);

/* socket_remove() - remove the file, if it is still ours. More than once is harmless. */
void socket_remove(struct socket_path *made);
