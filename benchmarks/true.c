/* The smallest program to start: linked statically, so that it runs in an empty root. */
int main(void)
{
    return 0;
}
