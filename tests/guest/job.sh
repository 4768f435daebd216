# job.sh -- what a job in the guest may use.  Read before it by the same shell.

# mark TEXT...: a line for the host to act on.
mark()
{
	echo "MARK $*"
}

fail()
{
	echo "FAIL $*"
	exit 1
}
