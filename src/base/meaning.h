/* Texts that explain, which a build without them (-Dhints=disabled) leaves out. */
#ifndef TNI_BASE_MEANING_H
#define TNI_BASE_MEANING_H

#ifdef TNI_HAVE_HINTS
#define TNI_MEANING(text) text
#else
#define TNI_MEANING(text) ""
#endif

#endif
