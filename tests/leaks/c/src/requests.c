/* All requests so far, the latest first. No request is ever removed. */

typedef __SIZE_TYPE__ size_t;

/* Declared here so that no header of a C library is needed; Rust links wasi-libc. */
void *malloc(size_t size);
void *memcpy(void *to, const void *from, size_t bytes);

#define BEGINNING 896

/* 900 bytes with pointers of 4 bytes. */
struct node {
    struct node *next;
    unsigned char beginning[BEGINNING];
};

static struct node *requests;

/* Keeps the beginning of a body. Returns the number of bytes kept. */
size_t remember(const unsigned char *body, size_t bytes) {
    struct node *node = malloc(sizeof(struct node));
    if (!node) {
        return 0;
    }
    size_t kept = bytes < BEGINNING ? bytes : BEGINNING;
    memcpy(node->beginning, body, kept);
    node->next = requests;
    requests = node;
    return kept;
}
