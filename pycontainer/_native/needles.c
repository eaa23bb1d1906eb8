/* Searching for many texts at once, in one pass that looks at every 30th byte or so.

   Wu and Manber's way: by the four bytes at the end of a window as long as the shortest text, a table
   says how far the window may move before any text can be in it. */
#include "pycontainer.h"

#include <stdlib.h>
#include <string.h>

enum { GRAM = PC_NEEDLE_LEAST, BITS = 16, SLOTS = 1 << BITS, FAR = 255 };

struct pc_needles {
    uint32_t count, window;
    uint8_t *texts;
    uint64_t *offsets; /* one more than texts */
    uint32_t *next;    /* of those whose window ends with the same four bytes */
    bool *dropped;
    uint8_t shift[SLOTS];
    uint32_t first[SLOTS];
};

static uint32_t slot_of(const uint8_t *end)
{
    uint32_t gram;
    memcpy(&gram, end - (GRAM - 1), GRAM);
    return gram * 2654435761u >> (32 - BITS); /* Knuth's multiplicative hash */
}

static void add(struct pc_needles *needles, uint32_t number)
{
    const uint8_t *text = needles->texts + needles->offsets[number];
    for (uint32_t end = GRAM - 1; end < needles->window; end++) {
        uint32_t left = needles->window - 1 - end, slot = slot_of(text + end);
        if (left < needles->shift[slot])
            needles->shift[slot] = (uint8_t)left;
        if (left == 0) {
            needles->next[number] = needles->first[slot];
            needles->first[slot] = number;
        }
    }
}

/* texts: one after the other, none shorter than PC_NEEDLE_LEAST.  NULL: no memory. */
struct pc_needles *pc_needles_new(const uint8_t *texts, const uint32_t *lengths, uint32_t count)
{
    uint64_t size = 0;
    uint32_t window = FAR; /* a shift is one byte */
    for (uint32_t i = 0; i < count; i++) {
        size += lengths[i];
        if (lengths[i] < window)
            window = lengths[i];
    }
    struct pc_needles *needles = calloc(1, sizeof(*needles));
    if (!needles)
        return NULL;
    needles->count = count;
    needles->window = window;
    needles->texts = malloc(size ? size : 1);
    needles->offsets = calloc((size_t)count + 1, sizeof(*needles->offsets));
    needles->next = calloc((size_t)count + 1, sizeof(*needles->next));
    needles->dropped = calloc((size_t)count + 1, sizeof(*needles->dropped));
    if (!needles->texts || !needles->offsets || !needles->next || !needles->dropped || window < GRAM) {
        pc_needles_free(needles);
        return NULL;
    }
    memcpy(needles->texts, texts, size);
    memset(needles->shift, (int)(window - GRAM + 1), sizeof(needles->shift));
    for (uint32_t slot = 0; slot < SLOTS; slot++)
        needles->first[slot] = PC_NEEDLE_NONE;
    for (uint32_t i = 0; i < count; i++) {
        needles->offsets[i + 1] = needles->offsets[i] + lengths[i];
        add(needles, i);
    }
    return needles;
}

void pc_needles_free(struct pc_needles *needles)
{
    if (!needles)
        return;
    free(needles->texts);
    free(needles->offsets);
    free(needles->next);
    free(needles->dropped);
    free(needles);
}

/* Looks for this one no more. */
void pc_needles_drop(struct pc_needles *needles, uint32_t number)
{
    if (number < needles->count)
        needles->dropped[number] = true;
}

/* Where the first of them begins in block[start:end], and which it is; -1 for none.
   *which: PC_NEEDLE_NONE, or the one that was found at start before: then one that follows it. */
int64_t pc_needles_find(const struct pc_needles *needles, const uint8_t *block, uint64_t start, uint64_t end,
                        uint32_t *which)
{
    const uint64_t window = needles->window;
    uint32_t number = *which == PC_NEEDLE_NONE ? *which : needles->next[*which];
    bool resumed = *which != PC_NEEDLE_NONE;

    for (uint64_t at = start; end - start >= window && at <= end - window;) {
        const uint8_t *here = block + at;
        uint32_t slot = slot_of(here + window - 1);
        uint8_t shift = needles->shift[slot];
        if (shift) {
            at += shift;
            resumed = false;
            continue;
        }
        for (number = resumed ? number : needles->first[slot]; number != PC_NEEDLE_NONE; number = needles->next[number]) {
            uint64_t length = needles->offsets[number + 1] - needles->offsets[number];
            if (!needles->dropped[number] && length <= end - at &&
                memcmp(here, needles->texts + needles->offsets[number], length) == 0) {
                *which = number;
                return (int64_t)at;
            }
        }
        resumed = false;
        at++;
    }
    return -1;
}
