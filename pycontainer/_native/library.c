/* Functions of libraries that are looked for when they are needed, and not when this is built. */
#include "pycontainer.h"

#include <dlfcn.h>

/* The function of that name, or NULL.  The library stays loaded. */
void *pc_symbol(const char *library, const char *name)
{
    void *handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    return handle ? dlsym(handle, name) : NULL;
}
